package apigateway

import (
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/wire"
)

const contentJSON = "application/json"

// wrongVerb answers 405.
func (s *Service) wrongVerb(w http.ResponseWriter, r *http.Request, verbs []string) {
	allow := strings.Join(verbs, ", ")
	w.Header().Set("Allow", allow)
	s.answer(w, r, http.StatusMethodNotAllowed, fault.New(fault.UnknownMethod, "this path has %s", allow))
}

// refuse answers with the error object of err.
func (s *Service) refuse(w http.ResponseWriter, r *http.Request, err error) {
	f := fault.Of(err)
	if r.Method == http.MethodGet && f.Reason == fault.OutcomeUnknown { // a read has no outcome
		f = fault.Wrap(err, fault.Overloaded, "the answer did not arrive in time; ask again").After(f.RetryAfter)
	}
	code := f.HTTP()
	if f.Reason == fault.UnknownMethod {
		// The path and the verb are right, but the service has not got the method.
		code = http.StatusNotImplemented
	}
	s.answer(w, r, code, f)
}

func (s *Service) answer(w http.ResponseWriter, r *http.Request, code int, f *fault.Error) {
	v := visitOf(r.Context())
	v.reason = f.Reason
	s.logCause(r, v, f)
	h := w.Header()
	h.Set("Content-Type", contentJSON)
	h.Set("Cache-Control", "no-store")
	if code == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if f.RetryAfter > 0 || code == http.StatusTooManyRequests {
		h.Set("Retry-After", seconds(f.RetryAfter))
	}
	body, err := wire.MarshalJSON(wire.ErrorObject(f, v.id))
	if err != nil { // strings and a number: cannot fail
		body = []byte("{}")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body) // the client's loss
}

// seconds is the form of Retry-After: whole seconds, at least one.
func seconds(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10)
}

// logCause logs what the client is not told. Causes of the services' errors were logged on their side.
func (s *Service) logCause(r *http.Request, v *visit, f *fault.Error) {
	switch {
	case f.Err == nil:
	case f.Code == fault.Internal:
		s.log.LogAttrs(r.Context(), slog.LevelError, "request failed", slog.String("route", v.route),
			slog.Any(obs.Err, f.Err), slog.String(obs.RequestID, v.id))
	case f.Code == fault.Unavailable && r.Context().Err() == nil:
		s.note(string(f.Reason), f.Err)
	}
}
