// Package nats is the calls seam between processes over core NATS requests: the way of the long connections, and the
// one to a named gateway instance or to the owner of a shard.
//
// It owns the subjects oc.call.<target>, oc.call.<target>.shard.<shard> and oc.gateway.<gatewayId>, and what stands in
// the headers there. Instances of a target form one queue group, so each call goes to one of them and none needs to know
// another. It never repeats a call that somebody may have got, unless its method has no side effects; and no service is
// reached without registering here.
//
// Of the caller's context the handler gets identity, request id, span and deadline; that a caller gave up before its
// deadline it does not learn. It keeps invariant 7: the calls under way have a bound, beyond which the answer is
// OVERLOADED at once.
package nats

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/crossing"
)

// CallSubject returns the subject of a target's calls.
func CallSubject(target string) string { return "oc.call." + target }

// ShardSubject returns the subject of the calls of one shard of a target.
func ShardSubject(target, shard string) string { return "oc.call." + target + ".shard." + shard }

// GatewaySubject returns the subject of the calls to one gateway instance.
func GatewaySubject(id chat.GatewayID) string { return "oc.gateway." + string(id) }

// gatewayGroup is the queue group of a gateway's own subject, on which there is one instance.
const gatewayGroup = "gateway"

// Config says how much is taken on.
type Config struct {
	// Limit bounds the calls under way on each subject that is served; 0 means 4096.
	Limit int
	// StopWithin is how long the stop of ServeGateway and ServeShard waits for calls that are under way; 0 means 5 s.
	StopWithin time.Duration
	// Held: services that are registered are not served before Open, so that a process that starts is not called before it
	// is ready. Gateways and shards are served at once all the same.
	Held bool
}

// Network is both sides: a calls.Network, and a calls.Host of the services of this process, callable as soon as they
// are registered. It is safe for concurrent use. Use New.
type Network struct {
	cfg      Config
	requests backbone.Requests
	log      *slog.Logger
	observer *calls.Observer // nil: nobody watches
	services crossing.Table
	patience sync.Map // *crossing.Patience by target, which are few

	base context.Context //nolint:containedctx // of all handlers: they outlive nobody's call but end with Drain
	end  context.CancelFunc

	mu       sync.Mutex // guards below
	draining bool
	held     bool
	waiting  []string                         // the targets that Open will serve
	serving  map[string]func(context.Context) // the stop of each subject that is served; nil while it is being begun
}

var (
	_ calls.Network = (*Network)(nil)
	_ calls.Host    = (*Network)(nil)
)

// New returns a Network over r that serves nothing yet. Causes of internal errors go to log.
func New(cfg Config, r backbone.Requests, log *slog.Logger) *Network {
	if cfg.Limit <= 0 {
		cfg.Limit = 4096
	}
	if cfg.StopWithin <= 0 {
		cfg.StopWithin = 5 * time.Second
	}
	n := &Network{cfg: cfg, requests: r, log: log, held: cfg.Held, serving: map[string]func(context.Context){}}
	n.base, n.end = context.WithCancel(context.Background())
	return n
}

// Watch lets o see every call that is served here. It must be called before the first one.
func (n *Network) Watch(o *calls.Observer) { n.observer = o }

// RegisterService makes the methods of impl callable from all processes, at once unless services are held. As in gRPC, it panics if the service
// is registered already or impl does not implement it: both are mistakes of the program.
func (n *Network) RegisterService(desc *grpc.ServiceDesc, impl any) {
	n.services.RegisterService(desc, impl)
	target := calls.Target("/" + desc.ServiceName + "/")
	if target == "" {
		n.log.Error("service has no target, it cannot be called from other processes", "service", desc.ServiceName)
		return
	}
	n.mu.Lock()
	held := n.held
	if held {
		n.waiting = append(n.waiting, target)
	}
	n.mu.Unlock()
	if !held {
		n.serve(CallSubject(target), target, &n.services)
	}
}

// Open serves the services that were held; from now on none is. It may be called more than once.
func (n *Network) Open() {
	n.mu.Lock()
	waiting := n.waiting
	n.held, n.waiting = false, nil
	n.mu.Unlock()
	for _, target := range waiting {
		n.serve(CallSubject(target), target, &n.services)
	}
}

// ServeGateway implements calls.Host. It panics if the id is served by this Network already. stop waits for calls that
// are under way, for Config.StopWithin at most.
func (n *Network) ServeGateway(id chat.GatewayID, register func(grpc.ServiceRegistrar)) (stop func()) {
	t := new(crossing.Table)
	register(t)
	stop, ok := n.serve(GatewaySubject(id), gatewayGroup, t)
	if !ok {
		panic(fmt.Sprintf("calls: gateway %s is served already", id))
	}
	return stop
}

// ServeShard implements calls.Host. Serving a shard that is served by this Network already changes nothing, and so does
// the stop of that. stop waits as ServeGateway's does.
func (n *Network) ServeShard(target, shard string) (stop func()) {
	stop, _ = n.serve(ShardSubject(target, shard), target, &n.services)
	return stop
}

// serve answers calls on a subject from t until stop. It is false if it did so already.
func (n *Network) serve(subject, group string, t *crossing.Table) (stop func(), ok bool) {
	n.mu.Lock()
	if _, ok := n.serving[subject]; ok || n.draining {
		n.mu.Unlock()
		return func() {}, !ok
	}
	n.serving[subject] = nil
	n.mu.Unlock()
	end, err := n.respond(subject, group, t)
	if err != nil { // only when the connection is closed for good: the process is on its way out
		n.log.Error("calls are not served", "subject", subject, "err", err)
		end = func(context.Context) {}
	}
	n.mu.Lock()
	n.serving[subject] = end
	late := n.draining
	n.mu.Unlock()
	stop = sync.OnceFunc(func() { n.stop(subject, end) })
	if late {
		stop()
	}
	return stop, true
}

func (n *Network) respond(subject, group string, t *crossing.Table) (func(context.Context), error) {
	if err := backbone.CheckTopic(subject, false); err != nil {
		return nil, err
	}
	return n.requests.Respond(backbone.Responder{
		Subject: subject, Group: group, Limit: n.cfg.Limit,
		Handle: func(r backbone.Envelope) backbone.Envelope { return n.answer(t, r) },
	})
}

// stop ends one subject. What is served again under it meanwhile is another one's.
func (n *Network) stop(subject string, end func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(n.base), n.cfg.StopWithin)
	defer cancel()
	n.mu.Lock()
	delete(n.serving, subject)
	n.mu.Unlock()
	end(ctx)
}

// Drain serves nothing new, lets the calls that have arrived be handled, and returns when they are answered; when ctx
// ends first, the contexts of those that still run end. Calls to others stay possible. It is for the end of a process:
// before the services stop, while they can still answer.
func (n *Network) Drain(ctx context.Context) {
	n.mu.Lock()
	n.draining = true
	var ends []func(context.Context)
	for _, end := range n.serving {
		if end != nil {
			ends = append(ends, end)
		}
	}
	clear(n.serving)
	n.mu.Unlock()
	var wg sync.WaitGroup
	for _, end := range ends {
		wg.Go(func() { end(ctx) })
	}
	wg.Wait()
	n.end()
}
