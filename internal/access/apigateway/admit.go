package apigateway

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/token"
)

// verify checks the token of a request, locally.
func (s *Service) verify(ctx context.Context, r *http.Request) (token.Claims, error) {
	if len(r.Header.Values("Authorization")) > 1 {
		return token.Claims{}, fault.New(fault.TokenInvalid, "more than one Authorization header")
	}
	return s.deps.Verifier.Verify(ctx, bearer(r.Header))
}

// admit stands before every call of the mux: routing comes first, so that what is not there is not there without a token too.
func (s *Service) admit(next runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		ctx, err := s.enter(r, params)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		body, err := s.body(r)
		if err != nil {
			w.Header().Set("Connection", "close") // the rest of the body is not waited for
			s.refuse(w, r, err)
			return
		}
		ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
		defer cancel()
		r = r.WithContext(ctx)
		r.Body = io.NopCloser(bytes.NewReader(body))
		next(w, r, params)
	}
}

// enter returns the context of the call: with the identity, unless the method is public.
func (s *Service) enter(r *http.Request, params map[string]string) (context.Context, error) {
	v := visitOf(r.Context())
	ctx := calls.WithRequestID(r.Context(), v.id)
	// A route that is not in the table, which no test has seen, is none of the public ones.
	rt := s.matched(r)
	if v.route = rt.name; !rt.public {
		if err := s.authenticate(ctx, v); err != nil {
			return nil, err
		}
		ctx = calls.WithIdentity(ctx, v.identity())
	} else {
		if err := s.countStranger(ctx, v); err != nil {
			return nil, err
		}
		ctx = calls.WithClient(ctx, netdoor.Network(v.ip).String())
	}
	for name, value := range params {
		if !utf8.ValidString(value) {
			return nil, fault.InvalidField(rt.field(name), "text in UTF-8")
		}
	}
	return ctx, nil
}

// countStranger counts a request for a method that needs no token against its address too, where a token came along:
// whoever has many accounts has no more guesses at passwords for it.
func (s *Service) countStranger(ctx context.Context, v *visit) error {
	if v.noAuth != nil {
		return nil // counted already
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CheckTimeout)
	defer cancel()
	return s.countAddress(ctx, v)
}

// matched returns what is declared of the route that the mux chose.
func (s *Service) matched(r *http.Request) route {
	p, _ := runtime.HTTPPattern(r.Context())
	return s.routes[r.Method+" "+p.String()]
}

// authenticate returns nil if the token is valid and its session open. APIGW-2.
func (s *Service) authenticate(ctx context.Context, v *visit) error {
	if v.noAuth != nil {
		return v.noAuth
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CheckTimeout)
	defer cancel()
	states, err := s.deps.Sessions.Check(ctx, []chat.SessionID{v.claims.SessionID})
	if err != nil {
		return sessionsDown(err)
	}
	if len(states) == 1 && states[0] == faststate.Allowed {
		return nil
	}
	if len(states) == 1 && states[0] == faststate.Denied {
		return errEnded()
	}
	return s.askAuth(ctx, v.claims.SessionID)
}

// askAuth has the database decide about a session that the allow-list does not know.
func (s *Service) askAuth(ctx context.Context, id chat.SessionID) error {
	s.m.unknown.Inc()
	resp, err := s.auth.CheckSessions(ctx, &authv1.CheckSessionsRequest{SessionIds: []string{string(id)}})
	if err != nil {
		return sessionsDown(err)
	}
	if !slices.Contains(resp.GetOpenSessionIds(), string(id)) {
		return errEnded()
	}
	return nil
}

func sessionsDown(err error) error {
	return fault.Wrap(err, fault.SessionStoreDown, "sessions cannot be checked now").After(time.Second)
}

func errEnded() error {
	return fault.New(fault.SessionEnded, "the session has ended; log in again")
}

// body reads the body of a request, which the server's read time-out bounds in time.
func (s *Service) body(r *http.Request) ([]byte, error) {
	limit := int64(s.cfg.BodyLimit)
	if r.ContentLength > limit {
		return nil, s.tooLarge()
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, fault.Wrap(err, fault.Malformed, "the body did not arrive whole")
	}
	if int64(len(data)) > limit {
		return nil, s.tooLarge()
	}
	return data, nil
}

func (s *Service) tooLarge() error {
	return fault.New(fault.TooLarge, "a body has at most %d bytes", int64(s.cfg.BodyLimit))
}
