package fakeserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	tokenLife   = 15 * time.Minute
	reuseWindow = time.Minute
)

// session is a log-in of one device.
type session struct {
	id, device string
	user       *user
	generation int
	refreshed  time.Time
	last       map[string]any // the answer that the current generation was given with
	ended      bool
}

// object is a JSON object.
type object = map[string]any

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", s.serveWS)
	mux.HandleFunc("POST /auth/register", s.rest("auth.register", s.register))
	mux.HandleFunc("POST /auth/login", s.rest("auth.login", s.login))
	mux.HandleFunc("POST /auth/refresh", s.rest("auth.refresh", s.refresh))
	return mux
}

// rest makes a handler of f, to which the rules apply.
func (s *Server) rest(method string, f func(in map[string]string) (object, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.counted(method)
		if rule := s.match(AtRequest, method); rule != nil && !restRule(w, r, rule) {
			return
		}
		var in map[string]string
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			answer(w, nil, failure("INVALID_ARGUMENT", "MALFORMED", 0))
			return
		}
		out, err := f(in)
		if rule := s.match(AtReply, method); rule != nil && !restRule(w, r, rule) {
			return
		}
		answer(w, out, err)
	}
}

// restRule applies a rule; false if nothing more is to be done.
func restRule(w http.ResponseWriter, r *http.Request, rule *Rule) bool {
	switch rule.Do {
	case Delay:
		return wait(r.Context(), rule.delay())
	case Fail:
		answer(w, nil, failure(rule.ErrorCode, rule.Reason, rule.retryAfter()))
		return false
	case Drop, Cut, CutMid, Close:
		panic(http.ErrAbortHandler)
	default:
		return true
	}
}

func answer(w http.ResponseWriter, out object, err error) {
	status := http.StatusOK
	if err != nil {
		e := asError(err)
		status = map[string]int{"UNAUTHENTICATED": 401, "INVALID_ARGUMENT": 400, "ALREADY_EXISTS": 409, "RESOURCE_EXHAUSTED": 429}[e.GetCode()]
		if status == 0 {
			status = http.StatusServiceUnavailable
		}
		if e.GetRetryAfterMs() > 0 {
			w.Header().Set("Retry-After", strconv.FormatInt((e.GetRetryAfterMs()+999)/1000, 10))
		}
		out = object{"code": e.GetCode(), "reason": e.GetReason(), "message": e.GetMessage(), "fields": []any{}, "retryAfterMs": e.GetRetryAfterMs(), "requestId": ""}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out) // the client's loss
}

func (s *Server) counted(method string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[method]++
}

func (s *Server) register(in map[string]string) (object, error) {
	s.mu.Lock()
	_, taken := s.users[in["username"]]
	s.mu.Unlock()
	if taken {
		return nil, failure("ALREADY_EXISTS", "USERNAME_TAKEN", 0)
	}
	id := s.AddUser(in["username"], in["password"])
	return object{"user": object{"userId": id, "username": in["username"], "nickname": in["nickname"], "avatar": "", "bio": ""}}, nil
}

func (s *Server) login(in map[string]string) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[in["username"]]
	if u == nil || u.password != in["password"] {
		return nil, failure("UNAUTHENTICATED", "BAD_CREDENTIALS", 0)
	}
	for _, old := range s.sessions {
		if old.user == u && old.device == in["deviceId"] {
			s.end(old)
		}
	}
	sess := &session{id: fmt.Sprintf("s%d", len(s.sessions)+1), user: u, device: in["deviceId"], refreshed: time.Now()}
	s.sessions[sess.id] = sess
	sess.last = s.issue(sess)
	return sess.last, nil
}

// issue makes a pair for the session's generation. s.mu is held.
func (s *Server) issue(sess *session) object {
	s.issued++
	return object{
		"accessToken":  fmt.Sprintf("%s.%d", sess.id, s.issued),
		"refreshToken": fmt.Sprintf("%s.r%d", sess.id, sess.generation),
		"expiresIn":    int(tokenLife / time.Second),
		"user":         object{"userId": sess.user.id, "username": sess.user.name, "nickname": "", "avatar": "", "bio": ""},
	}
}

func (s *Server) refresh(in map[string]string) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, gen, _ := strings.Cut(in["refreshToken"], ".r")
	generation, err := strconv.Atoi(gen)
	sess := s.sessions[id]
	switch {
	case err != nil || sess == nil:
		return nil, failure("UNAUTHENTICATED", "TOKEN_INVALID", 0)
	case sess.ended:
		return nil, failure("UNAUTHENTICATED", "SESSION_ENDED", 0)
	case generation == sess.generation:
		sess.generation++
		sess.refreshed = time.Now()
		sess.last = s.issue(sess)
		return sess.last, nil
	case generation == sess.generation-1 && time.Since(sess.refreshed) < reuseWindow:
		return sess.last, nil
	}
	s.end(sess)
	return nil, failure("UNAUTHENTICATED", "REFRESH_REUSED", 0)
}

// end ends a session and its connections. s.mu is held.
func (s *Server) end(sess *session) {
	sess.ended = true
	for c := range s.conns {
		if c.session == sess {
			c.close(4002, 0, false)
		}
	}
}

// ExpireTokens makes every access token that was issued so far one that has expired. Connections live on.
func (s *Server) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expired = s.issued
}

// EndSessions ends every session of a user.
func (s *Server) EndSessions(userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sess := range s.sessions {
		if sess.user.id == userID {
			s.end(sess)
		}
	}
}

// verify returns the session of an access token. s.mu is held.
func (s *Server) verify(token string) (*session, error) {
	id, number, _ := strings.Cut(token, ".")
	n, err := strconv.ParseUint(number, 10, 64)
	sess := s.sessions[id]
	switch {
	case token == "":
		return nil, failure("UNAUTHENTICATED", "TOKEN_MISSING", 0)
	case err != nil || sess == nil:
		return nil, failure("UNAUTHENTICATED", "TOKEN_INVALID", 0)
	case n <= s.expired:
		return nil, failure("UNAUTHENTICATED", "TOKEN_EXPIRED", 0)
	case sess.ended:
		return nil, failure("UNAUTHENTICATED", "SESSION_ENDED", 0)
	}
	return sess, nil
}
