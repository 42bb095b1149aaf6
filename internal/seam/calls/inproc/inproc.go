// Package inproc is the calls seam within one process: a call is a function call on the caller's goroutine.
//
// It owns the table of methods that the generated code registers. It never queues, never starts a goroutine and never
// decides a time-out of its own: a handler that ignores its context holds its caller.
//
// It keeps what the seam promises, so that a service cannot tell it from a network: request and answer are copied; of
// the caller's context only identity, request id, deadline and cancellation reach the handler; errors arrive as
// faults without their cause, which is logged here; a panic is an INTERNAL fault of that one call.
package inproc

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"google.golang.org/grpc"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/crossing"
)

// Network is every service of this process. It is a calls.Network and a calls.Host at once and safe for concurrent
// use. Use New.
type Network struct {
	log      *slog.Logger
	observer *calls.Observer // nil: nobody watches
	services crossing.Table

	mu       sync.RWMutex // guards gateways
	gateways map[chat.GatewayID]*crossing.Table
}

var (
	_ calls.Network = (*Network)(nil)
	_ calls.Host    = (*Network)(nil)
)

// New returns a Network that serves nothing yet. Causes of internal errors go to log.
func New(log *slog.Logger) *Network {
	return &Network{log: log, gateways: make(map[chat.GatewayID]*crossing.Table)}
}

// Watch lets o see every call. It must be called before the first one.
func (n *Network) Watch(o *calls.Observer) { n.observer = o }

// RegisterService makes the methods of impl callable at once. As in gRPC, it panics if the service is registered
// already or impl does not implement it: both are mistakes of the program.
func (n *Network) RegisterService(desc *grpc.ServiceDesc, impl any) {
	n.services.RegisterService(desc, impl)
}

// Invoke runs the method here and now. A service that is not registered (yet) is UNAVAILABLE, a method that its
// service does not have is UNIMPLEMENTED. Options are ignored.
func (n *Network) Invoke(ctx context.Context, fullMethod string, args, reply any, _ ...grpc.CallOption) error {
	return n.invoke(ctx, &n.services, fullMethod, args, reply)
}

// NewStream always fails: the seam has unary calls only.
func (n *Network) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, crossing.ErrStreams
}

// Gateway returns the connection to one gateway instance, whether it is served now or not.
func (n *Network) Gateway(id chat.GatewayID) grpc.ClientConnInterface { return gateway{n, id} }

// ServeGateway makes services callable under a gateway's id until stop is called; calls that are under way then
// finish. It panics if the id is served already. stop may be called more than once.
func (n *Network) ServeGateway(id chat.GatewayID, register func(grpc.ServiceRegistrar)) (stop func()) {
	t := new(crossing.Table)
	register(t)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gateways[id] != nil {
		panic(fmt.Sprintf("inproc: gateway %s is served already", id))
	}
	n.gateways[id] = t
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.gateways[id] == t {
			delete(n.gateways, id)
		}
	}
}

// ServeShard does nothing: there is one instance.
func (n *Network) ServeShard(string, string) (stop func()) { return func() {} }

func (n *Network) gateway(id chat.GatewayID) *crossing.Table {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.gateways[id]
}

// invoke returns nil or a *fault.Error.
func (n *Network) invoke(ctx context.Context, t *crossing.Table, fullMethod string, args, reply any) error {
	if err := ctx.Err(); err != nil {
		return fault.Of(err)
	}
	m, f := t.Find(fullMethod)
	if f == nil {
		return n.serve(ctx, m, fullMethod, args, reply)
	}
	return f
}

// serve calls the handler, watched. It returns nil or a *fault.Error.
func (n *Network) serve(ctx context.Context, m crossing.Method, fullMethod string, args, reply any) error {
	inner, serving := n.observer.Serve(ctx, fullMethod)
	err := m.Call(serverContext(inner), func(in any) error { return copyMessage(in, args) }, func(out any) error { return copyMessage(reply, out) })
	if err != nil {
		err = crossing.Fault(ctx, n.log, fullMethod, err)
	}
	serving.Done(err)
	return err
}

// gateway is a connection to one gateway instance.
type gateway struct {
	n  *Network
	id chat.GatewayID
}

// Invoke is as Network.Invoke; a gateway that is gone is UNAVAILABLE.
func (g gateway) Invoke(ctx context.Context, fullMethod string, args, reply any, _ ...grpc.CallOption) error {
	t := g.n.gateway(g.id)
	if t == nil {
		return crossing.NotServed(nil, "gateway %s is gone", g.id)
	}
	return g.n.invoke(ctx, t, fullMethod, args, reply)
}

// NewStream always fails: the seam has unary calls only.
func (g gateway) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, crossing.ErrStreams
}
