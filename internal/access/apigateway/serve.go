package apigateway

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/obs"
)

const pathWebSocket = "/ws"

// ServeHTTP serves one request: it gets an id, is answered, counted and logged, whatever happens.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := &visit{id: netdoor.RequestID(r), ip: s.deps.Trust.Client(r), began: time.Now()}
	ctx := context.WithValue(r.Context(), visitKey{}, v)
	ctx, v.span = s.deps.Trace.Start(ctx, "http request", v.id)
	r = r.WithContext(ctx)
	rec := &recorder{ResponseWriter: w}
	s.m.inFlight.Inc()
	defer s.m.inFlight.Dec()
	defer s.depart(ctx, v, r.Method, rec)
	defer s.survive(rec, r)
	rec.Header().Set(netdoor.HeaderRequest, v.id)
	rec.Header().Set("X-Content-Type-Options", "nosniff")
	s.choose(rec, r, v)
}

// survive answers a request whose handler panicked with INTERNAL.
func (s *Service) survive(w *recorder, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	v := visitOf(r.Context())
	s.log.ErrorContext(r.Context(), "panic while serving a request", "panic", fmt.Sprint(p), "stack", string(debug.Stack()),
		"route", v.route, obs.RequestID, v.id)
	if w.status == 0 {
		s.refuse(w, r, fault.New(fault.InternalReason, "internal error"))
	}
}

// choose takes the requests that are no calls out of the way of limits.
func (s *Service) choose(w *recorder, r *http.Request, v *visit) {
	if r.URL.Path == pathWebSocket && s.deps.WebSocket != nil {
		v.route = pathWebSocket
		s.deps.WebSocket.ServeHTTP(w, r) // it checks origins itself
		return
	}
	if !s.origins.pass(w, r) {
		s.refuse(w, r, fault.New(fault.NotAllowed, "pages of this origin may not use this server"))
		return
	}
	if isPreflight(r) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if file, ok := s.files[r.URL.Path]; ok {
		v.route = r.URL.Path
		s.readOnly(w, r, file)
		return
	}
	s.call(w, r, v)
}

// readOnly serves GET and HEAD with h.
func (s *Service) readOnly(w http.ResponseWriter, r *http.Request, h http.HandlerFunc) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		h(w, r)
		return
	}
	s.wrongVerb(w, r, []string{http.MethodGet, http.MethodHead})
}

// call counts the request, before anything else is looked at but whose it is, and routes it.
func (s *Service) call(w http.ResponseWriter, r *http.Request, v *visit) {
	w.Header().Set("Cache-Control", "no-store")
	if err := s.identify(r, v); err != nil {
		s.refuse(w, r, err)
		return
	}
	// The mux and its generated handlers act upon several headers; ours do not. Without them, no token goes further
	// than this and no header changes the meaning of a request.
	r.Header = http.Header{}
	if r.URL.Path == pathKeys {
		v.route = pathKeys
		s.readOnly(w, r, s.serveKeys)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// identify notes whose request it is and takes it from the limit of the user, or of the address when there is no
// valid token. APIGW-3.
func (s *Service) identify(r *http.Request, v *visit) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.CheckTimeout)
	defer cancel()
	v.claims, v.noAuth = s.verify(ctx, r)
	if v.noAuth != nil {
		return s.countAddress(ctx, v)
	}
	return s.count(ctx, "user", "api/user/"+string(v.claims.UserID))
}

func (s *Service) countAddress(ctx context.Context, v *visit) error {
	return s.count(ctx, "ip", "api/ip/"+netdoor.Network(v.ip).String())
}

// count takes a request from the bucket named key, or returns RATE_LIMITED.
func (s *Service) count(ctx context.Context, by, key string) error {
	if s.cfg.RateLimit <= 0 {
		return nil
	}
	ok, retryAfter, err := s.deps.Limits.Take(ctx, key, s.cfg.RateLimit, s.cfg.Burst)
	if err != nil {
		// Without the counter it is better to serve than to turn everybody away.
		s.note("the limits: requests are not counted", err)
		return nil
	}
	if ok {
		return nil
	}
	s.m.limited.WithLabelValues(by).Inc()
	return fault.New(fault.RateLimited, "more than %g requests a second", s.cfg.RateLimit).After(max(retryAfter, time.Millisecond))
}

// note logs what many requests can meet at a time once in a while.
func (s *Service) note(what string, err error) {
	if n, ok := s.noted.Allow(what); ok {
		s.log.Warn("what requests need is away", "what", what, obs.Err, err, obs.Suppressed, n)
	}
}

// bearer returns the token of the Authorization header, or "".
func bearer(h http.Header) string {
	scheme, tok, _ := strings.Cut(h.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(tok)
}
