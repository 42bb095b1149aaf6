// Package apigateway is the target api-gateway: the only entrance for HTTP requests. It owns the outer side of a
// request: its id, the client's address, CORS, limits, authentication, the access log, the page at /docs; and it turns
// REST into calls of the services that own the methods, by the bindings in api/. It stores nothing and knows no business.
//
// It keeps these invariants: a method that is not declared public is never called without an access token whose session
// is open (invariant 5), and what cannot be checked is refused; every refusal is the one error object; what a client
// sends is bounded in size and time before anything is made of it (invariants 7 and 8); no token, query or body is ever
// logged (invariant 9).
package apigateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/prometheus/client_golang/prometheus"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/token"
)

// Deps is what the gateway needs of others. WebSocket and Door may be nil.
type Deps struct {
	Net      calls.Network
	Limits   faststate.Limits
	Sessions faststate.Sessions
	Verifier Verifier
	// WebSocket serves /ws when ws-gateway is in the same process; nil means that there is no such path here.
	WebSocket http.Handler
	// Trust tells which address a client has.
	Trust netdoor.Trust
	// Door opens the port; nil means plain TCP.
	Door *netdoor.Door
	// Trace makes the spans of requests; nil means none.
	Trace *obs.Tracer
}

// Verifier checks an access token by auth's public keys; *token.Verifier does.
type Verifier interface {
	// Verify returns whose token it is, or a fault. It does not know whether the session is open.
	Verify(ctx context.Context, accessToken string) (token.Claims, error)
}

// Service is the gateway. It is safe for concurrent use.
type Service struct {
	cfg  Config
	addr string
	deps Deps
	log  *slog.Logger
	m    *metrics

	auth    authv1.AuthInternalServiceClient
	mux     *runtime.ServeMux
	muxErr  error // of building mux; Run reports it
	routes  routes
	files   map[string]http.HandlerFunc // by path; outside of limits
	origins origins
	noted   *obs.Limiter

	bound atomic.Pointer[net.Addr] // while Run listens
}

// New returns a gateway for the address addr that does nothing before Run. cfg must be valid.
func New(cfg Config, addr string, deps Deps, log *slog.Logger, reg prometheus.Registerer) *Service {
	s := &Service{
		cfg: cfg, addr: addr, deps: deps, log: log, m: newMetrics(reg),
		auth:    authv1.NewAuthInternalServiceClient(deps.Net),
		routes:  newRoutes(),
		files:   newFiles(),
		origins: newOrigins(cfg.Origins),
		noted:   obs.Every(10 * time.Second),
	}
	s.mux, s.muxErr = s.newMux()
	return s
}

// Handler returns the handler of all paths, for a server other than Run's.
func (s *Service) Handler() http.Handler { return s }

// Addr returns where Run listens, or nil when it does not.
func (s *Service) Addr() net.Addr {
	if a := s.bound.Load(); a != nil {
		return *a
	}
	return nil
}

// Run serves until ctx ends, then takes no more requests and lets those under way finish, for as long as one may take. It
// calls ready once, when it listens.
func (s *Service) Run(ctx context.Context, ready func()) error {
	if s.muxErr != nil {
		return fmt.Errorf("bind routes: %w", s.muxErr)
	}
	ln, err := s.deps.Door.Listen(ctx, s.addr)
	if err != nil {
		return fmt.Errorf("open http.addr %s: %w", s.addr, err)
	}
	addr := ln.Addr()
	s.bound.Store(&addr)
	defer s.bound.Store(nil)
	s.log.Info("listening", obs.Addr, addr.String())

	srv := s.server()
	ended := make(chan error, 1)
	go func() { ended <- serve(srv, ln) }()
	ready()
	select {
	case err := <-ended:
		_ = srv.Close() // what matters is why it ended
		return fmt.Errorf("serve on %s: %w", addr, err)
	case <-ctx.Done():
	}
	s.shutdown(ctx, srv)
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", addr, err)
	}
	return nil
}

// server returns the HTTP server with bounds for clients that are slow on purpose. Connections that were handed over to
// /ws are free of them.
func (s *Service) server() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.cfg.HeaderTimeout,
		ReadTimeout:       s.cfg.ReadTimeout,
		WriteTimeout:      s.cfg.ReadTimeout + s.cfg.RequestTimeout + writeMargin,
		IdleTimeout:       s.cfg.IdleTimeout,
		MaxHeaderBytes:    maxHeader,
		TLSConfig:         s.deps.Door.TLS(), // the time limit of the header bounds a handshake too
		// What the server itself has to say is what clients did wrong.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

func serve(srv *http.Server, ln net.Listener) error {
	if srv.TLSConfig != nil {
		return srv.ServeTLS(ln, "", "")
	}
	return srv.Serve(ln)
}

func (s *Service) shutdown(ctx context.Context, srv *http.Server) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.RequestTimeout)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		s.log.Warn("requests were cut off", obs.Err, err)
		_ = srv.Close() // nothing is left to wait for
	}
}
