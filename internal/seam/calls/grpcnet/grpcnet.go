// Package grpcnet is the calls seam between processes over gRPC: each call goes to one instance of its target, in turn.
//
// It owns the connections to other processes, and the server that they call: one table of methods, to which services are
// added while it serves, and gRPC's health service. It knows gateways by their target only, not by their ids, which is
// the business of calls/nats. Of a method without side effects it asks further instances when one does not answer. Any
// other call that an instance may have executed it never repeats; what surely never left goes to another instance, or is
// OVERLOADED.
//
// It keeps invariant 7: calls under way, message sizes and the wait for a connection have bounds. With Config.TLS set,
// only processes whose certificate the cluster's authority signed get in; without it, whoever reaches the port may act
// for any user, so it must be reachable by the cluster alone.
package grpcnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/crossing"
)

const (
	wireBytes    = 8 << 20          // longest message as gRPC sees it; crossing.MaxBytes is a little less
	stopWithin   = 10 * time.Second // what Run gives the calls under way when it stops
	maxAgeGrace  = time.Minute      // what calls on a connection that is too old get
	pingEvery    = 10 * time.Second // how soon a dead connection is noticed that nobody uses, with pingTimeout
	pingTimeout  = 3 * time.Second  // and one that is used: on Linux it is also how long sent bytes may lack TCP's ack
	greetTimeout = 5 * time.Second  // handshakes
)

// Network is both sides: a calls.Network, and the server of the services that are registered on it, callable as soon as
// they are. It is safe for concurrent use. Use New.
type Network struct {
	cfg       Config
	instances map[string][]string
	log       *slog.Logger
	door      *netdoor.Door
	creds     credentials.TransportCredentials
	observer  *calls.Observer // nil: nobody watches

	services crossing.Table
	server   *grpc.Server
	health   *health.Server
	underWay atomic.Int64
	addr     atomic.Value // net.Addr

	mu      sync.RWMutex // guards below
	closed  bool
	targets map[string]*peers
}

var (
	_ calls.Network         = (*Network)(nil)
	_ grpc.ServiceRegistrar = (*Network)(nil)
)

// New returns a Network that neither listens nor connects yet. cfg must be valid; an error says that files of cfg.TLS
// cannot be used. doors count and renew the certificate; causes of internal errors go to log.
func New(cfg Config, doors *netdoor.Set, log *slog.Logger) (*Network, error) {
	instances, err := cfg.instances()
	if err != nil {
		return nil, err
	}
	n := &Network{cfg: cfg, instances: instances, log: log, health: health.NewServer(), targets: map[string]*peers{}}
	n.creds = insecure.NewCredentials()
	if cfg.TLS.on() {
		n.door = doors.Door("grpc", cfg.TLS.door(), false)
		if n.creds, err = newMutual(cfg.TLS, n.door, log); err != nil {
			return nil, err
		}
	}
	n.server = grpc.NewServer(
		grpc.Creds(n.creds), grpc.UnknownServiceHandler(n.serve), grpc.ConnectionTimeout(greetTimeout),
		grpc.MaxRecvMsgSize(wireBytes), grpc.MaxSendMsgSize(wireBytes), grpc.MaxConcurrentStreams(uint32(min(max(cfg.MaxCalls, 1)+64, 1<<20))),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: pingEvery, Timeout: pingTimeout, MaxConnectionAge: cfg.MaxAge, MaxConnectionAgeGrace: maxAgeGrace,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingEvery / 2, PermitWithoutStream: true}),
	)
	healthv1.RegisterHealthServer(n.server, n.health)
	return n, nil
}

// Watch lets o see every call that is served here. It must be called before the first one.
func (n *Network) Watch(o *calls.Observer) { n.observer = o }

// RegisterService makes the methods of impl callable at once, whether Run is serving already or not. As in gRPC, it
// panics if the service is registered already or impl does not implement it: both are mistakes of the program.
func (n *Network) RegisterService(desc *grpc.ServiceDesc, impl any) {
	n.services.RegisterService(desc, impl)
	n.health.SetServingStatus(desc.ServiceName, healthv1.HealthCheckResponse_SERVING)
}

// Run listens and serves until ctx ends; then it drains, for 10 s at most. Calls to others stay possible until Close.
func (n *Network) Run(ctx context.Context, ready func()) error {
	ln, err := n.door.Listen(ctx, n.cfg.Addr)
	if err != nil {
		return fmt.Errorf("open grpc.addr: %w", err)
	}
	n.addr.Store(ln.Addr())
	ended := make(chan error, 1)
	go func() { ended <- n.listen(ln) }()
	ready()
	select {
	case err := <-ended:
		if err == nil { // after Drain
			<-ctx.Done()
		}
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	n.Drain(stop)
	return <-ended
}

// listen takes connections until Drain.
func (n *Network) listen(ln net.Listener) error {
	if err := n.server.Serve(ln); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve gRPC: %w", err)
	}
	return nil
}

// Addr returns where Run listens, or nil before.
func (n *Network) Addr() net.Addr {
	a, _ := n.addr.Load().(net.Addr)
	return a
}

// Drain serves nothing new and returns when the calls under way are answered, or cancelled as ctx ended. Peers are told,
// so that their next calls go to other instances. It is for the end of a process: before the services stop, while they
// can still answer. Run goes on until its own context ends.
func (n *Network) Drain(ctx context.Context) {
	n.health.Shutdown()
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.server.GracefulStop()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		n.server.Stop() // which lets GracefulStop return
		<-done
	}
}

// Close ends the connections to other processes. Calls that are under way fail.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for _, p := range n.targets {
		_ = p.conn.Close() // it fails only when it is closed already
	}
	clear(n.targets)
	return nil
}
