package local

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is how often the front asks every instance whether it is ready.
const lookEvery = 250 * time.Millisecond

// front is what a load balancer is in production: one address for REST and WebSocket and one for TCP, round robin over
// the instances that are ready, and X-Forwarded-For.
type front struct {
	http, tcp *door // tcp is nil if nothing serves it
	server    *http.Server
	pools     []*pool
	cancel    context.CancelFunc
	wg        sync.WaitGroup // all that it started
	requests  sync.RWMutex   // held by each request, so that close can wait for all
	idle      []func()       // close what is kept open to instances
}

// pool is the instances of one kind.
type pool struct {
	list []*instance
	next atomic.Uint32
}

type instance struct {
	process *Process
	addr    string
	ready   atomic.Bool
}

func newPool(list []*Process, addr func(*Process) string) *pool {
	p := &pool{}
	for _, one := range list {
		if a := addr(one); a != "" {
			i := &instance{process: one, addr: a}
			i.ready.Store(true)
			p.list = append(p.list, i)
		}
	}
	return p
}

// order returns whom to try, one after the other: those that are ready, then those that at least live.
func (p *pool) order() []string {
	var ready, rest []string
	n := int(p.next.Add(1))
	for i := range p.list {
		switch one := p.list[(n+i)%len(p.list)]; {
		case !one.process.Running():
		case one.ready.Load():
			ready = append(ready, one.addr)
		default:
			rest = append(rest, one.addr)
		}
	}
	return append(ready, rest...)
}

// look asks all instances at once whether they are ready.
func (p *pool) look(ctx context.Context, wg *sync.WaitGroup) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	var all sync.WaitGroup
	for _, one := range p.list {
		all.Go(func() { one.ready.Store(one.process.check(ctx, one.process) == nil) })
	}
	wg.Go(func() {
		all.Wait()
		cancel()
	})
}

// openFront opens the addresses and serves them until close.
func (s *Services) openFront(ctx context.Context, o ServiceOptions) (*front, error) {
	rest := newPool(s.list, func(p *Process) string { return p.HTTP })
	ws := newPool(s.list, func(p *Process) string { return p.WS })
	tcp := newPool(s.list, func(p *Process) string { return p.TCP })
	f := &front{pools: []*pool{rest, ws, tcp}}
	var err error
	if f.http, err = openDoor(ctx, o.HTTP); err != nil {
		return nil, err
	}
	if len(tcp.list) > 0 {
		if f.tcp, err = openDoor(ctx, o.TCP); err != nil {
			_ = f.http.Close()
			return nil, err
		}
	}
	ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	f.serve(ctx, rest, ws, tcp)
	return f, nil
}

func (f *front) serve(ctx context.Context, rest, ws, tcp *pool) {
	mux := http.NewServeMux()
	mux.Handle("/", f.proxy(rest))
	mux.Handle("/ws", f.proxy(ws))
	f.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	f.wg.Go(func() { _ = f.server.Serve(f.http) }) // it ends with close
	if f.tcp != nil {
		f.wg.Go(func() { f.splice(ctx, tcp) })
	}
	f.wg.Go(func() {
		for tick := time.NewTicker(lookEvery); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			for _, p := range f.pools {
				p.look(ctx, &f.wg)
			}
		}
	})
}

// proxy passes requests on, upgraded ones too, until they end.
func (f *front) proxy(p *pool) http.Handler {
	transport := &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true}
	reverse := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "oceanchat"
			r.SetXForwarded()
		},
		Transport:     &spread{p, transport},
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "the front of the local cluster: "+err.Error(), http.StatusBadGateway)
		},
	}
	f.idle = append(f.idle, transport.CloseIdleConnections)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.requests.RLock()
		defer f.requests.RUnlock()
		reverse.ServeHTTP(w, r)
	})
}

// spread sends each request to the next instance, and to the one after that if nobody listens.
type spread struct {
	pool *pool
	*http.Transport
}

var errNobody = errors.New("no instance runs")

func (s *spread) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = io.NopCloser(r.Body) // a failed attempt would close it
	}
	err := errNobody
	for _, addr := range s.pool.order() {
		r.URL.Host = addr
		var resp *http.Response
		if resp, err = s.Transport.RoundTrip(r); err == nil {
			return resp, nil
		}
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "dial" {
			break
		}
	}
	return nil, err
}

// close closes both doors with all connections, and waits for what served them.
func (f *front) close() {
	f.cancel()
	_ = f.server.Close()
	_ = f.http.Close()
	if f.tcp != nil {
		_ = f.tcp.Close()
	}
	f.wg.Wait()
	f.requests.Lock()
	defer f.requests.Unlock()
	for _, end := range f.idle {
		end()
	}
}
