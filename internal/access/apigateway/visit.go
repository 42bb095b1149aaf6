package apigateway

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/token"
)

// visit is what is known of one request while it is served. One goroutine uses it.
type visit struct {
	id     string // of the request
	ip     netip.Addr
	began  time.Time
	route  string       // as in the log; "" when none matched
	claims token.Claims // of a valid token
	noAuth error        // why there are no claims
	reason fault.Reason // of the refusal
	span   obs.Span
}

type visitKey struct{}

func visitOf(ctx context.Context) *visit {
	if v, ok := ctx.Value(visitKey{}).(*visit); ok {
		return v
	}
	return &visit{} // a handler of the mux was called past ServeHTTP: never
}

func (v *visit) identity() calls.Identity {
	return calls.Identity{
		UserID: v.claims.UserID, SessionID: v.claims.SessionID, DeviceID: v.claims.DeviceID, Platform: v.claims.Platform,
	}
}

// unrouted is the route of requests that no route took, so that paths which clients make up are one series.
const unrouted = "none"

var verbs = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// depart counts and logs a request that was answered. APIGW-4.
func (s *Service) depart(ctx context.Context, v *visit, method string, w *recorder) {
	if !slices.Contains(verbs, method) {
		method = "other"
	}
	if v.route == "" {
		v.route = unrouted
	}
	took := time.Since(v.began)
	s.m.answered(method, v.route, w.code(), took)
	v.endSpan(method, w.code())
	if !s.cfg.AccessLog {
		return
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "request",
		slog.String(obs.Method, method), slog.String("route", v.route), slog.Int("status", w.code()),
		slog.Int64("bytes", w.bytes), slog.Duration(obs.Took, took), slog.String(obs.RemoteAddr, v.ip.String()),
		slog.String(obs.UserID, string(v.claims.UserID)), slog.String(obs.Reason, string(v.reason)),
		slog.String(obs.RequestID, v.id))
}

// recorder notes what is answered. Failures of writing are the client's loss and are not told to who writes, as the
// gateway library logs them past our log.
type recorder struct {
	http.ResponseWriter

	status int // 0 until something is written
	bytes  int64
}

func (w *recorder) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, _ := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return len(p), nil
}

// Hijack implements http.Hijacker for /ws.
func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.status = http.StatusSwitchingProtocols
	}
	return nc, rw, err
}

// Unwrap lets http.ResponseController through.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
