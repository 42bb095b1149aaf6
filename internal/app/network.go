package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/lifecycle"
	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/jetstream"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/grpcnet"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
	"github.com/oceanchat/oceanchat/internal/seam/calls/nats"
)

// network is how one process of a cluster calls: what it runs itself by a function call, other targets over remote, and
// gateways of other processes over NATS.
type network struct {
	chosen   plan
	local    *inproc.Network
	remote   grpc.ClientConnInterface
	gateways calls.Network
	own      *served
}

var _ calls.Network = (*network)(nil)

// Invoke implements calls.Network.
func (n *network) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if n.chosen.has(calls.Target(method)) {
		return n.local.Invoke(ctx, method, args, reply, opts...)
	}
	return n.remote.Invoke(ctx, method, args, reply, opts...)
}

// NewStream always fails: the seam has unary calls only.
func (n *network) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return n.local.NewStream(ctx, desc, method, opts...)
}

// Gateway implements calls.Network.
func (n *network) Gateway(id chat.GatewayID) grpc.ClientConnInterface {
	if n.own.has(id) {
		return n.local.Gateway(id)
	}
	return n.gateways.Gateway(id)
}

// host serves everything in every way that others call it.
type host struct {
	local *inproc.Network
	grpc  *grpcnet.Network
	nats  *nats.Network
	own   *served
}

var _ calls.Host = (*host)(nil)

// RegisterService implements calls.Host.
func (h *host) RegisterService(desc *grpc.ServiceDesc, impl any) {
	h.local.RegisterService(desc, impl)
	h.grpc.RegisterService(desc, impl)
	h.nats.RegisterService(desc, impl)
}

// ServeGateway implements calls.Host.
func (h *host) ServeGateway(id chat.GatewayID, register func(grpc.ServiceRegistrar)) (stop func()) {
	stopLocal := h.local.ServeGateway(id, register)
	stopNATS := h.nats.ServeGateway(id, register)
	h.own.set(id)
	return func() {
		h.own.set("")
		stopNATS()
		stopLocal()
	}
}

// ServeShard implements calls.Host.
func (h *host) ServeShard(target, shard string) (stop func()) {
	return h.nats.ServeShard(target, shard)
}

// served is the gateway of this process. It is safe for concurrent use.
type served struct {
	mu sync.Mutex // guards id
	id chat.GatewayID
}

func (s *served) set(id chat.GatewayID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id = id
}

func (s *served) has(id chat.GatewayID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id == id
}

// addNetwork adds the calls between processes. Others are let in when the targets are ready, and shown out before these
// stop; those of this process can call as long as they run.
func (s *seams) addNetwork(cfg *Config, chosen plan, js *jetstream.Backbone, doors *netdoor.Set, log *slog.Logger) error {
	local, own := inproc.New(log), &served{}
	overNATS := nats.New(nats.Config{Held: true}, js, log)
	overGRPC, err := grpcnet.New(cfg.GRPC, doors, log)
	if err != nil {
		return err
	}
	s.network = &network{chosen, local, overGRPC, overNATS, own}
	s.realtime = &network{chosen, local, overNATS, overNATS, own}
	s.host = &host{local, overGRPC, overNATS, own}
	s.watch = func(o *calls.Observer) {
		local.Watch(o)
		overGRPC.Watch(o)
		overNATS.Watch(o)
	}
	s.parts = append(s.parts, lifecycle.Part{Name: "connections to peers", Needs: []string{backbonePart}, Run: func(ctx context.Context, ready func()) error {
		ready()
		<-ctx.Done()
		return overGRPC.Close()
	}})
	s.entrance = &lifecycle.Part{Name: "calls of peers", Run: func(ctx context.Context, ready func()) error {
		err := overGRPC.Run(ctx, func() {
			overNATS.Open()
			ready()
		})
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), callsStopWithin)
		defer cancel()
		overNATS.Drain(stop)
		return err
	}}
	return nil
}

// callsStopWithin is how long calls that have arrived over NATS may take when the process stops.
const callsStopWithin = 10 * time.Second
