package system

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/oceanchat/oceanchat/test/client"
)

// Invariant 8 over REST: each bad input gets the contract's answer, and the process goes on.
func TestBadRequests(t *testing.T) {
	s := start(t)
	ann, bob := s.user("ann"), s.user("bob")
	long := strings.Repeat("x", 70<<10)
	tests := []struct {
		name, method, path string
		body               any
		token              string // "": ann's; "-": none
		status             int
		reason, field      string
	}{
		{name: "not JSON", method: "POST", path: "/messages", body: "{", status: 400, reason: "MALFORMED"},
		{name: "not an object", method: "POST", path: "/messages", body: "[1]", status: 400, reason: "MALFORMED"},
		{name: "wrong type", method: "POST", path: "/messages", body: `{"clientMsgId":7}`, status: 400, reason: "INVALID_FIELD", field: "clientMsgId"},
		{name: "wrong type, deep", method: "POST", path: "/messages", body: `{"text":{"mentions":[{"offset":-1}]}}`, status: 400, reason: "INVALID_FIELD", field: "text.mentions[0].offset"},
		{name: "no target", method: "POST", path: "/messages", body: `{"clientMsgId":"a","text":{"text":"x"}}`, status: 400, reason: "INVALID_FIELD"},
		{name: "two targets", method: "POST", path: "/messages", body: client.Object{"clientMsgId": "a", "toUserId": bob.ID, "groupId": "g", "text": client.Object{"text": "x"}}, status: 400, reason: "INVALID_FIELD"},
		{name: "oneself", method: "POST", path: "/messages", body: client.Object{"clientMsgId": "a", "toUserId": ann.ID, "text": client.Object{"text": "x"}}, status: 400, reason: "INVALID_FIELD", field: "toUserId"},
		{name: "nobody", method: "POST", path: "/messages", body: client.Object{"clientMsgId": "a", "toUserId": "nobody", "text": client.Object{"text": "x"}}, status: 404, reason: "NOT_FOUND"},
		{name: "an inbox", method: "POST", path: "/conversations/i~" + bob.ID + "/messages", body: client.Object{"clientMsgId": "a", "text": client.Object{"text": "x"}}, status: 404, reason: "NOT_FOUND"},
		{name: "text too long", method: "POST", path: "/messages", body: client.Object{"clientMsgId": "a", "toUserId": bob.ID, "text": client.Object{"text": strings.Repeat("é", 5001)}}, status: 400, reason: "INVALID_FIELD", field: "text.text"},
		{name: "body too large", method: "POST", path: "/messages", body: client.Object{"x": long}, status: 413, reason: "TOO_LARGE"},
		{name: "unknown path", method: "GET", path: "/nothing", token: "-", status: 404, reason: "NO_ROUTE"},
		{name: "wrong verb", method: "PUT", path: "/messages", status: 405, reason: "UNKNOWN_METHOD"},
		{name: "no token", method: "GET", path: "/users/me", token: "-", status: 401, reason: "TOKEN_MISSING"},
		{name: "bad token", method: "GET", path: "/users/me", token: "abc", status: 401, reason: "TOKEN_INVALID"},
		{name: "negative limit", method: "GET", path: "/conversations/d~a~b/messages?limit=-1", status: 400, reason: "INVALID_FIELD", field: "limit"},
		{name: "limit 0", method: "GET", path: "/conversations/d~a~b/messages?limit=0", status: 400, reason: "INVALID_FIELD", field: "limit"},
		{name: "two bounds", method: "GET", path: "/conversations/d~a~b/messages?afterSeq=1&beforeSeq=2", status: 400, reason: "INVALID_FIELD"},
		{name: "negative seq", method: "GET", path: "/conversations/d~a~b/messages?afterSeq=-1", status: 400, reason: "INVALID_FIELD", field: "afterSeq"},
		{name: "page size 0", method: "GET", path: "/conversations?pageSize=0", status: 400, reason: "INVALID_FIELD", field: "pageSize"},
		{name: "broken page token", method: "GET", path: "/conversations?pageToken=%21", status: 400, reason: "INVALID_FIELD", field: "pageToken"},
		{name: "no conversation id", method: "GET", path: "/conversations/x~y", status: 400, reason: "INVALID_FIELD", field: "conversationId"},
		{name: "bad username", method: "POST", path: "/auth/register", token: "-", body: `{"username":"A B","password":"long enough"}`, status: 400, reason: "INVALID_FIELD", field: "username"},
		{name: "short password", method: "POST", path: "/auth/register", token: "-", body: `{"username":"good","password":"short"}`, status: 400, reason: "INVALID_FIELD", field: "password"},
		{name: "taken", method: "POST", path: "/auth/register", token: "-", body: `{"username":"ann","password":"long enough"}`, status: 409, reason: "USERNAME_TAKEN"},
		{name: "wrong password", method: "POST", path: "/auth/login", token: "-", body: `{"username":"ann","password":"wrong one!","deviceId":"d","platform":"web"}`, status: 401, reason: "BAD_CREDENTIALS"},
		{name: "unknown user", method: "POST", path: "/auth/login", token: "-", body: `{"username":"zoe","password":"wrong one!","deviceId":"d","platform":"web"}`, status: 401, reason: "BAD_CREDENTIALS"},
		{name: "unknown platform", method: "POST", path: "/auth/login", token: "-", body: `{"username":"ann","password":"wrong one!","deviceId":"d","platform":"toaster"}`, status: 400, reason: "INVALID_FIELD", field: "platform"},
		{name: "no refresh token", method: "POST", path: "/auth/refresh", token: "-", body: `{"refreshToken":"x"}`, status: 401, reason: "TOKEN_INVALID"},
		{name: "unknown member", method: "POST", path: "/groups", body: `{"name":"G","memberIds":["nobody"]}`, status: 404, reason: "NOT_FOUND"},
		{name: "no name", method: "POST", path: "/groups", body: `{"name":""}`, status: 400, reason: "INVALID_FIELD", field: "name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := client.REST{Base: s.base, Token: tt.token}
			switch tt.token {
			case "":
				r.Token = ann.Token
			case "-":
				r.Token = ""
			}
			err := r.Do(t.Context(), tt.method, tt.path, tt.body, nil)
			e, ok := err.(*client.Error) //nolint:errorlint // returned as it is
			if !ok || e.Status != tt.status || e.Reason != tt.reason {
				t.Fatalf("= %v; want %d %s", err, tt.status, tt.reason)
			}
			if tt.field != "" && (len(e.Fields) == 0 || e.Fields[0].Field != tt.field || e.Fields[0].Rule == "") {
				t.Errorf("fields = %+v; want %s with its rule", e.Fields, tt.field)
			}
			if e.RequestID == "" {
				t.Error("no requestId")
			}
		})
	}
	if err := ann.Do(t.Context(), "GET", "/users/me", nil, nil); err != nil {
		t.Errorf("afterwards GET /users/me = %v; want the process to go on", err)
	}
}

// Invariant 8 on the long connection.
func TestBadFrames(t *testing.T) {
	s := start(t, "--ws-gateway-auth-timeout", "1s")
	ann := s.user("ann")
	witness := connect(t, s.user("bob"))
	closes := []struct {
		name string
		do   func(t *testing.T, c *client.Conn)
		code int
	}{
		{"silence", func(*testing.T, *client.Conn) {}, 4001},
		{"another request first", raw(`{"jsonrpc":"2.0","id":1,"method":"user.getMe"}`), 4001},
		{"a bad token", raw(`{"jsonrpc":"2.0","id":1,"method":"connect","params":{"token":"x","deviceId":"d","platform":"web"}}`), 4001},
		{"a broken frame before connect", raw(`{`), 4004},
		{"5 KiB before connect", raw(strings.Repeat(" ", 5<<10)), 4004},
		{"a binary frame", func(t *testing.T, c *client.Conn) { write(t, c, ws.OpBinary, "x") }, 4004},
	}
	for _, tt := range closes {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := client.Dial(t.Context(), s.base)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			tt.do(t, c)
			if code, err := c.Closed(within(t, 10*time.Second)); err != nil || code != tt.code {
				t.Errorf("closed with %d, %v; want %d", code, err, tt.code)
			}
		})
	}
	c := connect(t, ann)
	answers := []struct{ name, frame, want string }{
		{"not JSON", `{`, `"code":-32700`},
		{"a batch", `[]`, `"code":-32600`},
		{"unknown method", `{"jsonrpc":"2.0","id":"a","method":"no.such"}`, `"code":-32601`},
		{"params no object", `{"jsonrpc":"2.0","id":"a","method":"user.getMe","params":[1]}`, `"code":-32602`},
	}
	for _, tt := range answers {
		write(t, c, ws.OpText, tt.frame)
		select {
		case p := <-c.Pushes():
			if !strings.Contains(string(p.Params), tt.want) || !strings.HasPrefix(string(p.Params), `{"jsonrpc":"2.0","id":`) {
				t.Errorf("%s answered %s; want %s", tt.name, p.Params, tt.want)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s: no answer within 5 s", tt.name)
		}
	}
	if err := c.Call(t.Context(), "user.getMe", client.Object{}, nil); err != nil {
		t.Errorf("the connection after bad frames: %v; want it to go on", err)
	}
	if err := witness.Call(t.Context(), "user.getMe", client.Object{}, nil); err != nil {
		t.Errorf("another's connection: %v; want it untouched", err)
	}
}

func raw(frame string) func(t *testing.T, c *client.Conn) {
	return func(t *testing.T, c *client.Conn) { write(t, c, ws.OpText, frame) }
}

func write(t *testing.T, c *client.Conn, op ws.OpCode, frame string) {
	t.Helper()
	if err := c.Raw(op, []byte(frame)); err != nil {
		t.Fatal(err)
	}
}

// APIGW-3, ROUTER-3: both limits, with their advice.
func TestRateLimits(t *testing.T) {
	s := start(t, "--api-gateway-rate-limit", "5", "--router-rate-limit", "5")
	ann := s.user("ann")
	var limited *client.Error
	for range 200 {
		if e, ok := ann.Do(t.Context(), "GET", "/users/me", nil, nil).(*client.Error); ok { //nolint:errorlint // returned as it is
			limited = e
			break
		}
	}
	if limited == nil || limited.Status != http.StatusTooManyRequests || limited.Reason != "RATE_LIMITED" || limited.RetryAfterMs <= 0 {
		t.Errorf("200 requests at 5/s: %v; want 429 RATE_LIMITED with retryAfterMs", limited)
	}
	c := connect(t, ann)
	limited = nil
	for range 200 {
		if e, ok := c.Call(t.Context(), "user.getMe", client.Object{}, nil).(*client.Error); ok { //nolint:errorlint // returned as it is
			limited = e
			break
		}
	}
	if limited == nil || limited.Reason != "RATE_LIMITED" {
		t.Errorf("200 requests at 5/s on a connection: %v; want RATE_LIMITED", limited)
	}
}
