// Package wsgateway is the target ws-gateway: the long connections of clients. It owns sockets, frames, lanes, output
// queues and the numbers of pushes, each only for the life of a connection, and stores nothing.
//
// It knows no business: connect, ping and ack are its own, everything else goes to router as the client sent it, and
// comes back as a whole answer. It never decides who receives an entry, and never waits for one client on behalf of
// another.
//
// It keeps these invariants: no push before the answer to connect, and none lost that was committed after that
// answer's sync token; an entry that was taken over is acknowledged by the device or handed back once for offline push;
// one request of a lane is at work at a time (sender's order); every queue has a bound, at which the connection is
// closed with a code that says so (invariant 7); a session that ended is refused and its connections closed (invariant
// 5); bad input closes at most the connection that it came from (invariant 8).
package wsgateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	pusherrealtimev1 "github.com/oceanchat/oceanchat/gen/oceanchat/pusherrealtime/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	routerv1 "github.com/oceanchat/oceanchat/gen/oceanchat/router/v1"
	wsgatewayv1 "github.com/oceanchat/oceanchat/gen/oceanchat/wsgateway/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/obs"
)

// Service is one gateway instance. It is safe for concurrent use.
type Service struct {
	cfg  Config
	deps Deps
	log  *slog.Logger
	m    *metrics
	id   chat.GatewayID

	router   routerv1.RouterServiceClient
	presence presencev1.PresenceInternalServiceClient
	query    queryv1.QueryServiceClient
	auth     authv1.AuthInternalServiceClient
	pusher   pusherrealtimev1.PusherRealtimeServiceClient

	conns     *registry
	ips       addresses
	connects  chan struct{} // holds one for each connect at work
	ready     *readyList
	workers   workers
	unsynced  unsynced
	goodbyes  *backlog[*presencev1.Connection]
	handbacks *backlog[*flowv1.OfflineItem]
	noted     *obs.Limiter
	requests  atomic.Uint64
	epoch     atomic.Uint64 // of the log: the highest that a sync has told
	started   time.Time
	cuts      chan struct{} // the backbone was lost and is there again

	ctx context.Context // of calls for clients; outlives Run's, so that what is under way can finish. Set by Run.
	wg  sync.WaitGroup  // readers and connects; the second only while its reader lives

	slow  sync.WaitGroup // writers that may block; the flushers start them
	aside sync.WaitGroup // calls that nobody waits for; connects and the lease's loop start them

	mu   sync.Mutex // guards open
	open bool       // connections are taken
}

// New returns a gateway with a fresh id that does nothing before Run. cfg must be valid.
func New(cfg Config, deps Deps, log *slog.Logger, reg prometheus.Registerer) *Service {
	if deps.ClientIP == nil {
		deps.ClientIP = netdoor.Trust{}.Client
	}
	s := &Service{
		cfg: cfg, deps: deps, log: log, id: chat.GatewayID(chat.NewID()),
		router:   routerv1.NewRouterServiceClient(deps.Net),
		presence: presencev1.NewPresenceInternalServiceClient(deps.Net),
		query:    queryv1.NewQueryServiceClient(deps.Net),
		auth:     authv1.NewAuthInternalServiceClient(deps.Net),
		pusher:   pusherrealtimev1.NewPusherRealtimeServiceClient(deps.Net),
		conns:    newRegistry(),
		ips:      addresses{count: map[netip.Addr]int{}},
		ready:    newReadyList(),
		workers:  workers{jobs: make(chan work)},
		noted:    obs.Every(10 * time.Second),
		started:  time.Now(),
		connects: make(chan struct{}, cfg.Connects),
		cuts:     make(chan struct{}, 1),
	}
	s.m = newMetrics(reg, func() float64 { return float64(s.conns.count.Load()) }, s.queued)
	s.goodbyes = newBacklog(callBatch, s.m.dropped.WithLabelValues("goodbye"), s.sendGoodbyes, func(err error) {
		s.failed("goodbye", "goodbyes not sent, trying again", err)
	})
	s.handbacks = newBacklog(entryBatch, s.m.dropped.WithLabelValues("handback"), s.sendHandBacks, func(err error) {
		s.failed("handback", "unacknowledged entries not handed back, trying again", err)
	})
	return s
}

// ID returns the id of this run of the gateway, by which calls reach it.
func (s *Service) ID() chat.GatewayID { return s.id }

// clock is a monotonic time in nanoseconds; atomics hold it.
func (s *Service) clock() int64 { return int64(time.Since(s.started)) }

// Run takes connections until ctx ends; then it closes them with 4006, spread over at most DrainSpread, finishes what they had
// asked, and returns. It calls ready once, when clients can connect.
func (s *Service) Run(ctx context.Context, ready func()) error {
	calls, endCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer endCalls()
	s.ctx = calls
	if err := s.firstLease(ctx); err != nil {
		return nil //nolint:nilerr // ctx ended before the gateway was of use
	}
	unserve := s.deps.Host.ServeGateway(s.id, func(r grpc.ServiceRegistrar) {
		wsgatewayv1.RegisterGatewayServiceServer(r, &server{s: s})
	})
	defer unserve()
	unsubscribe, err := s.deps.Signals.Subscribe(subjectSessionEnded, "", s.sessionEnded)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", subjectSessionEnded, err)
	}
	defer unsubscribe()

	stop := s.startLoops(calls)
	defer stop()
	defer s.deps.Signals.OnReconnect(s.cutOff)()
	doors, err := s.openDoors(ctx)
	if err != nil {
		return err
	}
	ready()
	<-ctx.Done()
	s.closeDoors(doors)
	s.drain()
	return nil
}

// startLoops starts what serves all connections. The returned function ends it, in order: workers, then writers, then
// what tells the other services.
func (s *Service) startLoops(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var loops, flushers, backlogs sync.WaitGroup
	loops.Go(func() { s.keepLease(ctx) })
	loops.Go(func() { s.sweepSessions(ctx) })
	loops.Go(func() { s.auditSessions(ctx) })
	loops.Go(func() { s.afterCuts(ctx) })
	loops.Go(func() { s.catchUp(ctx) })
	loops.Go(func() { s.watch(ctx) })
	n := s.cfg.Flushers
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	for range n {
		flushers.Go((&flusher{s: s, writer: newRawWriter()}).run)
	}
	last := make(chan struct{})
	backlogs.Go(func() { s.goodbyes.run(ctx, last) })
	backlogs.Go(func() { s.handbacks.run(ctx, last) })
	return func() {
		s.ready.close()
		flushers.Wait()
		s.slow.Wait()
		s.wg.Wait()
		s.workers.stop()
		close(last)
		bound := time.AfterFunc(maxRetryPause, cancel) // what cannot be told by now never will
		backlogs.Wait()
		bound.Stop()
		cancel()
		loops.Wait()
		s.aside.Wait()
	}
}

// openDoors lets clients in.
func (s *Service) openDoors(ctx context.Context) ([]*listener, error) {
	s.mu.Lock()
	s.open = true
	s.mu.Unlock()
	list, err := s.listen(ctx)
	if err != nil {
		s.closeDoors(list)
		s.drain()
	}
	return list, err
}

func (s *Service) closeDoors(list []*listener) {
	s.mu.Lock()
	s.open = false
	s.mu.Unlock()
	for _, l := range list {
		l.close()
	}
}

// drainEach is how long a stop takes for each connection, where they are few: 2,000 reconnects a second harm nobody,
// and the clients of a process that is only restarted wait no longer than they must.
const drainEach = 500 * time.Microsecond

// drain closes every connection with 4006, spread evenly, each once its requests are answered; what has not gone by
// then is cut.
func (s *Service) drain() {
	list := s.conns.all()
	begin, spread := time.Now(), min(s.cfg.DrainSpread, time.Duration(len(list))*drainEach)
	for i, c := range list {
		due := begin.Add(spread * time.Duration(i) / time.Duration(len(list)))
		if d := time.Until(due); d > time.Millisecond {
			wait(s.ctx, nil, d)
		}
		c.drainOut()
	}
	gone := make(chan struct{})
	go func() { s.wg.Wait(); close(gone) }()
	cut := time.NewTimer(s.cfg.RequestTimeout + s.cfg.CloseTimeout)
	defer cut.Stop()
	select {
	case <-gone:
	case <-cut.C:
		for _, c := range s.conns.all() {
			c.broke()
		}
		<-gone
	}
}

// drainOut closes the connection for the server's stop: at once, or when its last request is answered.
func (c *conn) drainOut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.is(live) && c.req != nil {
		c.drain = true
		return
	}
	c.closeLocked(draining, drainReason)
}

// note logs what a client caused, once per address and ten seconds.
func (s *Service) note(msg string, c *conn, err error) {
	if n, ok := s.noted.Allow(c.remote.String()); ok {
		//nolint:sloglint // callers pass constants
		s.log.Info(msg, obs.ConnectionID, string(c.id.ConnectionID), obs.RemoteAddr, c.remote.String(), obs.Err, err, obs.Suppressed, n)
	}
}

// failed counts what the gateway itself or another service could not do, and logs it once per message and ten seconds.
func (s *Service) failed(what, msg string, err error) {
	s.m.failures.WithLabelValues(what).Inc()
	if n, ok := s.noted.Allow(msg); ok {
		//nolint:sloglint // callers pass constants
		s.log.Warn(msg, obs.Err, err, obs.Suppressed, n)
	}
}
