package apigateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pushv1 "github.com/oceanchat/oceanchat/gen/oceanchat/push/v1"
	"github.com/oceanchat/oceanchat/internal/access/apigateway"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// Invariant 8: each bad request gets the contract's answer, and no service sees it.
func TestBadInput(t *testing.T) {
	t.Parallel()
	r := open(t)
	ann := r.login("ann")
	revoked := r.login("rob")
	if err := r.sessions.Deny(t.Context(), []chat.SessionID{"s-rob"}); err != nil {
		t.Fatal(err)
	}
	const messages = "/conversations/d~ann~bob/messages"
	big := `{"clientMsgId":"` + strings.Repeat("x", 64<<10) + `"}`
	tests := []struct {
		name, verb, path, token, body string
		status                        int
		reason                        fault.Reason
		field                         string // of the first broken rule
		allow                         string
	}{
		{"not JSON", "POST", "/messages", ann, `{"clientMsgId":`, 400, fault.Malformed, "", ""},
		{"JSON, but no object", "POST", "/messages", ann, `[1]`, 400, fault.Malformed, "", ""},
		{"null is no object", "POST", "/messages", ann, `null`, 400, fault.Malformed, "", ""},
		{"two objects", "POST", "/messages", ann, `{}{}`, 400, fault.Malformed, "", ""},
		{"a form", "POST", "/auth/login", "", `username=ann&password=x`, 400, fault.Malformed, "", ""},
		{"not UTF-8", "POST", "/messages", ann, "{\"clientMsgId\":\"\xff\"}", 400, fault.Malformed, "", ""},
		{"doubled member", "POST", "/messages", ann, `{"groupId":"a","groupId":"b"}`, 400, fault.Malformed, "", ""},
		{"too deep", "POST", "/messages", ann, strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40), 400, fault.Malformed, "", ""},
		{"wrong type", "POST", "/messages", ann, `{"text":{"text":5}}`, 400, fault.InvalidFieldReason, "text.text", ""},
		{"wrong type in a list", "POST", "/groups", ann, `{"memberIds":["a",5]}`, 400, fault.InvalidFieldReason, "memberIds[1]", ""},
		{"unknown word", "POST", "/auth/login", "", `{"platform":"amiga"}`, 400, fault.InvalidFieldReason, "platform", ""},
		{"number that is a word", "GET", messages + "?afterSeq=x", ann, "", 400, fault.InvalidFieldReason, "afterSeq", ""},
		{"negative seq", "GET", messages + "?afterSeq=-1", ann, "", 400, fault.InvalidFieldReason, "afterSeq", ""},
		{"doubled parameter", "GET", messages + "?limit=1&limit=2", ann, "", 400, fault.InvalidFieldReason, "limit", ""},
		{"parameter not UTF-8", "GET", "/users?query=%ff", ann, "", 400, fault.InvalidFieldReason, "query", ""},
		{"broken escape in the query", "GET", "/users?query=%zz", ann, "", 400, fault.Malformed, "", ""},
		{"id not UTF-8", "GET", "/users/%ff", ann, "", 400, fault.InvalidFieldReason, "userId", ""},
		{"body too large", "POST", "/messages", ann, big, 413, fault.TooLarge, "", ""},
		{"body too large where none is wanted", "GET", "/users/me", ann, big, 413, fault.TooLarge, "", ""},
		{"unknown path", "GET", "/nowhere", ann, "", 404, fault.NoRoute, "", ""},
		{"unknown path without a token", "GET", "/nowhere", "", "", 404, fault.NoRoute, "", ""},
		{"below a path", "GET", "/users/me/settings/more", ann, "", 404, fault.NoRoute, "", ""},
		{"escaped slash", "GET", "/users/a%2Fb%2Fc%2Fd", ann, "", 404, fault.NoRoute, "", ""},
		{"operations are not here", "GET", "/metrics", ann, "", 404, fault.NoRoute, "", ""},
		{"internal methods are not here", "POST", "/oceanchat.auth.v1.AuthInternalService/CheckSessions", ann, "{}", 404, fault.NoRoute, "", ""},
		{"long connection only", "POST", "/conversations/g~1/typing", ann, "{}", 404, fault.NoRoute, "", ""},
		{"/ws of another process", "GET", "/ws", "", "", 404, fault.NoRoute, "", ""},
		{"wrong verb", "DELETE", "/auth/login", "", "", 405, fault.UnknownMethod, "", "POST"},
		{"wrong verb, several right ones", "PUT", "/groups/g1/members/u1", "", "", 405, fault.UnknownMethod, "", "DELETE, PATCH"},
		{"wrong verb, fixed path beside a parameter", "DELETE", "/users/me", ann, "", 405, fault.UnknownMethod, "", "GET, PATCH"},
		{"invented verb", "BREW", "/messages", ann, "", 405, fault.UnknownMethod, "", "POST"},
		{"OPTIONS of no page", "OPTIONS", "/messages", "", "", 405, fault.UnknownMethod, "", "POST"},
		{"wrong verb on a file", "POST", "/openapi.json", "", "{}", 405, fault.UnknownMethod, "", "GET, HEAD"},
		{"wrong verb on the keys", "DELETE", "/.well-known/jwks.json", "", "", 405, fault.UnknownMethod, "", "GET, HEAD"},
		{"no token", "GET", "/users/me", "", "", 401, fault.TokenMissing, "", ""},
		{"no token is said before a bad body", "POST", "/messages", "", "{", 401, fault.TokenMissing, "", ""},
		{"no token of ours", "GET", "/users/me", "abc", "", 401, fault.TokenInvalid, "", ""},
		{"changed token", "GET", "/users/me", ann[:len(ann)-6] + "AAAAAA", "", 401, fault.TokenInvalid, "", ""},
		{"expired token", "GET", "/users/me", r.token("ann", "s-ann", -time.Hour), "", 401, fault.TokenExpired, "", ""},
		{"revoked session", "GET", "/users/me", revoked, "", 401, fault.SessionEnded, "", ""},
		{"session that nobody knows", "GET", "/users/me", r.token("ann", "s-lost", time.Hour), "", 401, fault.SessionEnded, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := r.do(tt.verb, tt.path, tt.token, tt.body)
			if got.status != tt.status {
				t.Errorf("%s %s = %d %s; want %d", tt.verb, tt.path, got.status, got.body, tt.status)
			}
			e := got.refusal(t)
			field := ""
			if len(e.Fields) > 0 {
				field = e.Fields[0].Field
			}
			if e.Reason != string(tt.reason) || field != tt.field || got.header.Get("Allow") != tt.allow {
				t.Errorf("%s %s = %s, field %q, Allow %q; want %s, %q, %q",
					tt.verb, tt.path, e.Reason, field, got.header.Get("Allow"), tt.reason, tt.field, tt.allow)
			}
			if (got.status == http.StatusUnauthorized) != (got.header.Get("WWW-Authenticate") != "") {
				t.Errorf("status %d with WWW-Authenticate %q", got.status, got.header.Get("WWW-Authenticate"))
			}
		})
	}
	if reached := r.services.take(); len(reached) != 0 {
		t.Errorf("%d bad requests reached a service, such as %v", len(reached), reached[0])
	}
}

// A body is cut off at the limit however its length is told.
func TestBodyLimit(t *testing.T) {
	t.Parallel()
	r := open(t)
	ann := r.login("ann")
	const limit = 64 << 10
	fit := `{"clientMsgId":"` + strings.Repeat("x", limit-18) + `"}`
	if len(fit) != limit {
		t.Fatalf("body of %d bytes; want %d", len(fit), limit)
	}
	chunked := func(body string) answer {
		req, err := http.NewRequestWithContext(t.Context(), "POST", r.srv.URL+"/messages", io.MultiReader(strings.NewReader(body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+ann)
		return r.send(req)
	}
	if got := r.do("POST", "/messages", ann, fit); got.status != 200 {
		t.Errorf("body of the limit = %d %s; want 200", got.status, got.body)
	}
	if got := chunked(fit); got.status != 200 {
		t.Errorf("body of the limit in chunks = %d %s; want 200", got.status, got.body)
	}
	if got := chunked(fit + " "); got.status != 413 || got.refusal(t).Reason != "TOO_LARGE" {
		t.Errorf("body above the limit in chunks = %d %s; want 413", got.status, got.body)
	}
}

// A Content-Length that promises more than comes is an end of the body, not a crash or a wait without end.
func TestLyingContentLength(t *testing.T) {
	t.Parallel()
	r := open(t)
	ann := r.login("ann")
	for _, tt := range []struct {
		promised int
		status   int
	}{{100, 400}, {1 << 30, 413}} {
		t.Run(strconv.Itoa(tt.promised), func(t *testing.T) {
			nc, err := net.Dial("tcp", r.srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			_, _ = fmt.Fprintf(nc, "POST /messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n{}", ann, tt.promised)
			if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tt.status {
				t.Errorf("Content-Length %d, 2 bytes = %d; want %d", tt.promised, resp.StatusCode, tt.status)
			}
		})
	}
	if reached := r.services.take(); len(reached) != 0 {
		t.Errorf("%d cut bodies reached a service", len(reached))
	}
}

// What is odd but not wrong: services see what was meant.
func TestOddInput(t *testing.T) {
	t.Parallel()
	r := open(t)
	ann := r.login("ann")
	tests := []struct {
		name, verb, path, body string
		header                 []string
		want                   string // the request that the service saw, as text
	}{
		{"empty body is an empty object", "POST", "/auth/logout", "", nil, ``},
		{"white space is an empty object", "POST", "/auth/logout", " \n", nil, ``},
		{"unknown fields are ignored", "POST", "/auth/logout", `{"what":1}`, nil, ``},
		{"any content type is JSON", "POST", "/messages", `{"clientMsgId":"m1"}`, []string{"Content-Type", "text/;;; nonsense"}, `client_msg_id:"m1"`},
		{"a form's content type too", "POST", "/messages", `{"clientMsgId":"m1"}`, []string{"Content-Type", "application/x-www-form-urlencoded"}, `client_msg_id:"m1"`},
		{"null clears an optional field", "PATCH", "/users/me", `{"bio":null,"nickname":"A"}`, nil, `nickname:"A" bio:""`},
		{"absent fields stay absent", "PATCH", "/users/me", `{"nickname":"A"}`, nil, `nickname:"A"`},
		{"lists with commas", "GET", "/presence?userIds=a,b", "", nil, `user_ids:"a" user_ids:"b"`},
		{"lists repeated", "GET", "/presence?userIds=a&userIds=b", "", nil, `user_ids:"a" user_ids:"b"`},
		{"negative limits are the service's business", "GET", "/conversations/g~1/messages?limit=-5", "", nil, `conversation_id:"g~1" limit:-5`},
		{"ids are the service's business", "GET", "/users/a%20b", "", nil, `user_id:"a b"`},
		{"escaped ids", "GET", "/conversations/d%7Ea%7Eb", "", nil, `conversation_id:"d~a~b"`},
		{"escaped twice is not unescaped twice", "GET", "/conversations/d%257Ea", "", nil, `conversation_id:"d%7Ea"`},
		{"the path outranks the query", "GET", "/conversations/g~1/messages?conversationId=g~2&conversation_id=g~3", "", nil, `conversation_id:"g~1"`},
		{"the path outranks the body", "POST", "/conversations/g~1/read", `{"conversationId":"g~2","seq":3}`, nil, `conversation_id:"g~1" seq:3`},
		{"the query does not reach what has a body", "POST", "/conversations/g~1/read?seq=9", `{"seq":3}`, nil, `conversation_id:"g~1" seq:3`},
		{"no verb by header", "POST", "/messages", `{}`, []string{"X-HTTP-Method-Override", "DELETE"}, ``},
		{"no time-out by header", "GET", "/users/me", "", []string{"Grpc-Timeout", "1n"}, ``},
		{"no broken binary header", "GET", "/users/me", "", []string{"Grpc-Metadata-X-Bin", "***", "X-Bin", "***"}, ``},
		{"no trailers", "GET", "/users/me", "", []string{"TE", "trailers"}, ``},
		{"the scheme in any case", "GET", "/users/me", "", nil, ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := r.do(tt.verb, tt.path, ann, tt.body, tt.header...)
			if got.status != 200 {
				t.Fatalf("%s %s = %d %s; want 200", tt.verb, tt.path, got.status, got.body)
			}
			reached := r.services.take()
			if len(reached) != 1 {
				t.Fatalf("%d calls; want 1", len(reached))
			}
			if text := text(reached[0].request); text != tt.want {
				t.Errorf("service saw %s; want %s", text, tt.want)
			}
		})
	}
}

func TestAuthorizationHeader(t *testing.T) {
	t.Parallel()
	r := open(t)
	ann := r.login("ann")
	tests := []struct {
		name   string
		header []string
		reason string // "" for success
	}{
		{"bearer in lower case", []string{"Authorization", "bearer " + ann}, ""},
		{"another scheme is no token", []string{"Authorization", "Basic YTpi"}, "TOKEN_MISSING"},
		{"nothing after the scheme", []string{"Authorization", "Bearer "}, "TOKEN_MISSING"},
		{"two headers", []string{"Authorization", "Bearer " + ann, "Authorization", "Bearer " + ann}, "TOKEN_INVALID"},
		{"no token in the URL or a cookie", []string{"Cookie", "token=" + ann}, "TOKEN_MISSING"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := r.do("GET", "/users/me?access_token="+ann, "", "", tt.header...)
			if tt.reason == "" {
				if got.status != 200 {
					t.Errorf("GET /users/me = %d %s; want 200", got.status, got.body)
				}
				return
			}
			if e := got.refusal(t); got.status != 401 || e.Reason != tt.reason {
				t.Errorf("GET /users/me = %d %s; want 401 %s", got.status, e.Reason, tt.reason)
			}
		})
	}
}

// APIGW-2: a revoked session is refused at its next request, one that the allow-list lost is asked for at auth, and
// what cannot be checked is refused.
func TestSessions(t *testing.T) {
	t.Parallel()
	r := open(t)
	ann := r.login("ann")
	if got := r.do("GET", "/users/me", ann, ""); got.status != 200 {
		t.Fatalf("open session = %d %s; want 200", got.status, got.body)
	}
	if err := r.sessions.Deny(t.Context(), []chat.SessionID{"s-ann"}); err != nil {
		t.Fatal(err)
	}
	if got := r.do("GET", "/users/me", ann, ""); got.refusal(t).Reason != "SESSION_ENDED" {
		t.Errorf("revoked session = %s; want SESSION_ENDED", got.body)
	}

	lost := r.token("lea", "s-lea", time.Hour)
	r.auth.open["s-lea"] = true
	if got := r.do("GET", "/users/me", lost, ""); got.status != 200 {
		t.Errorf("session that only the database knows = %d %s; want 200", got.status, got.body)
	}
	r.auth.mu.Lock()
	r.auth.down = true
	r.auth.mu.Unlock()
	if got := r.do("GET", "/users/me", lost, ""); got.status != 503 || got.refusal(t).Reason != "SESSION_STORE_DOWN" {
		t.Errorf("auth away = %d %s; want 503 SESSION_STORE_DOWN", got.status, got.body)
	}
	if got := r.do("POST", "/auth/login", lost, "{}"); got.status != 200 {
		t.Errorf("public route with auth away = %d %s; want 200", got.status, got.body)
	}
}

type brokenSessions struct{ faststate.Sessions }

func (brokenSessions) Check(context.Context, []chat.SessionID) ([]faststate.SessionState, error) {
	return nil, errors.New("connection refused")
}

type brokenLimits struct{}

func (brokenLimits) Take(context.Context, string, float64, int) (bool, time.Duration, error) {
	return false, 0, errors.New("connection refused")
}

// Without the allow-list nobody gets in; without the limits everybody does.
func TestFastStateDown(t *testing.T) {
	t.Parallel()
	r := open(t, func(c *apigateway.Config, d *apigateway.Deps) {
		c.RateLimit = 10
		d.Sessions, d.Limits = brokenSessions{}, brokenLimits{}
	})
	if got := r.do("POST", "/auth/login", "", "{}"); got.status != 200 {
		t.Errorf("public route = %d %s; want 200", got.status, got.body)
	}
	got := r.do("GET", "/users/me", r.token("ann", "s-ann", time.Hour), "")
	if e := got.refusal(t); got.status != 503 || e.Reason != "SESSION_STORE_DOWN" || got.header.Get("Retry-After") != "1" {
		t.Errorf("GET /users/me = %d %s, Retry-After %s; want 503 SESSION_STORE_DOWN, 1", got.status, got.body, got.header.Get("Retry-After"))
	}
	if strings.Contains(got.body, "connection refused") {
		t.Errorf("answer tells the cause: %s", got.body)
	}
}

// What services answer comes out as the error object, with its advice, and never with a cause.
func TestServiceErrors(t *testing.T) {
	t.Parallel()
	r := open(t)
	ann := r.login("ann")
	tests := []struct {
		name       string
		reply      func(ctx context.Context) (proto.Message, error)
		status     int
		reason     string
		retryAfter string
	}{
		{"a fault", failing(fault.New(fault.NotMember, "no")), 403, "NOT_MEMBER", ""},
		{"fields", failing(fault.InvalidField("text.text", "at most 5000 code points")), 400, "INVALID_FIELD", ""},
		{"advice is rounded up", failing(fault.New(fault.LogFull, "full").After(1001 * time.Millisecond)), 503, "LOG_FULL", "2"},
		{"429 always has advice", failing(fault.New(fault.LimitReached, "full")), 429, "LIMIT_REACHED", "1"},
		{"an error that is none of ours", failing(errors.New("secret cause")), 500, "INTERNAL", ""},
		{"not written yet", failing(fault.New(fault.UnknownMethod, "x")), 501, "UNKNOWN_METHOD", ""},
		{"a panic", func(context.Context) (proto.Message, error) { panic("secret cause") }, 500, "INTERNAL", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.services.on(t, "push.register", func(ctx context.Context, _ proto.Message) (proto.Message, error) { return tt.reply(ctx) })
			got := r.do("PUT", "/devices/d1/push", ann, "{}")
			e := got.refusal(t)
			if got.status != tt.status || e.Reason != tt.reason || got.header.Get("Retry-After") != tt.retryAfter {
				t.Errorf("status %d %s, Retry-After %q; want %d %s %q", got.status, e.Reason, got.header.Get("Retry-After"), tt.status, tt.reason, tt.retryAfter)
			}
			if strings.Contains(got.body, "secret") {
				t.Errorf("answer tells the cause: %s", got.body)
			}
		})
	}
	r.services.on(t, "push.register", func(context.Context, proto.Message) (proto.Message, error) { return &pushv1.RegisterResponse{}, nil })
	if got := r.do("PUT", "/devices/d1/push", ann, "{}"); got.status != 200 || got.body != "{}" {
		t.Errorf("after all that = %d %s; want 200 {}", got.status, got.body)
	}
}

// A service that hangs costs its caller the request time-out; of a command the outcome is not known then, a read has none.
func TestServiceHangs(t *testing.T) {
	t.Parallel()
	r := open(t, func(c *apigateway.Config, _ *apigateway.Deps) { c.RequestTimeout = 20 * time.Millisecond })
	ann := r.login("ann")
	for _, tt := range []struct{ method, verb, path, reason string }{
		{"message.send", "POST", "/messages", "OUTCOME_UNKNOWN"},
		{"user.getMe", "GET", "/users/me", "OVERLOADED"},
	} {
		r.services.on(t, tt.method, func(ctx context.Context, _ proto.Message) (proto.Message, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		got := r.do(tt.verb, tt.path, ann, "{}")
		if e := got.refusal(t); got.status != 503 || e.Reason != tt.reason || got.header.Get("Retry-After") != "1" {
			t.Errorf("%s = %d %s, Retry-After %q; want 503 %s, 1", tt.method, got.status, got.body, got.header.Get("Retry-After"), tt.reason)
		}
	}
}

func failing(err error) func(context.Context) (proto.Message, error) {
	return func(context.Context) (proto.Message, error) { return nil, err }
}
