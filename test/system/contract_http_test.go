package system

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/test/client"
)

// The REST door: what stands where, and what it refuses.
func TestContractDoors(t *testing.T) {
	s := startContract(t)
	ann := s.user("ann")
	t.Run("openapi", func(t *testing.T) {
		var doc struct {
			OpenAPI string
			Paths   map[string]map[string]any
		}
		s.ok(t, nil, "GET", "/openapi.json", nil, &doc)
		if !strings.HasPrefix(doc.OpenAPI, "3.") {
			t.Errorf("openapi = %q; want 3", doc.OpenAPI)
		}
		for _, p := range []string{"/auth/register", "/messages", "/sync", "/groups/{groupId}/members/me", "/conversations/{conversationId}/entries"} {
			if doc.Paths[p] == nil {
				t.Errorf("openapi.json does not know %s", p)
			}
		}
	})
	t.Run("docs", func(t *testing.T) {
		a := s.rest(t, nil, "GET", "/docs", nil)
		if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
			t.Fatalf("/docs = %d %s; want a page", a.status, a.header.Get("Content-Type"))
		}
		page := string(a.raw)
		for _, bad := range []string{`src="http`, `src="//`, `href="http`, `href="//`, "@import", "url(http"} {
			if i := strings.Index(page, bad); i >= 0 {
				t.Errorf("/docs holds %q; want nothing loaded from elsewhere", page[i:min(i+120, len(page))])
			}
		}
	})
	t.Run("the operations' paths are not public", func(t *testing.T) {
		for _, p := range []string{"/healthz", "/readyz", "/metrics", "/debug/pprof/", "/debug/pprof/heap", "/status/config"} {
			s.fails(t, nil, "GET", p, nil, 404, "NO_ROUTE")
			s.fails(t, ann, "GET", p, nil, 404, "NO_ROUTE")
		}
		for _, p := range []string{"/healthz", "/readyz", "/metrics", "/debug/pprof/"} {
			resp, err := http.Get(s.ops + p)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("%s on the operations port = %d; want 200", p, resp.StatusCode)
			}
		}
	})
	t.Run("wrong verbs", func(t *testing.T) {
		for _, tt := range []struct{ method, path, allow string }{
			{"PUT", "/messages", "POST"},
			{"DELETE", "/auth/login", "POST"},
			{"GET", "/sync", "POST"},
			{"PUT", "/users/me", "GET"},
			{"POST", "/conversations", "GET"},
		} {
			a := s.rest(t, ann, tt.method, tt.path, nil)
			var e client.Error
			_ = json.Unmarshal(a.raw, &e)
			if a.status != 405 || e.Code != "UNIMPLEMENTED" || e.Reason != "UNKNOWN_METHOD" || !strings.Contains(a.header.Get("Allow"), tt.allow) {
				t.Errorf("%s %s = %d %s, Allow %q; want 405 UNIMPLEMENTED/UNKNOWN_METHOD, Allow with %s", tt.method, tt.path, a.status, a.raw, a.header.Get("Allow"), tt.allow)
			}
		}
	})
	t.Run("body size", func(t *testing.T) {
		body := func(size int) string {
			const head, end = `{"nickname":"N","zzz":"`, `"}`
			return head + strings.Repeat("x", size-len(head)-len(end)) + end
		}
		s.ok(t, ann, "PATCH", "/users/me", body(64<<10), nil)
		a := s.rest(t, ann, "PATCH", "/users/me", body(64<<10+1))
		wants(t, "one byte more", a.raw, `{"code":"INVALID_ARGUMENT","reason":"TOO_LARGE","message":"$text","fields":"$any","retryAfterMs":0,"requestId":"$text"}`)
		if a.status != 413 {
			t.Errorf("one byte more = %d; want 413", a.status)
		}
	})
	t.Run("request ids", func(t *testing.T) {
		a := s.ok(t, ann, "GET", "/users/me", nil, nil)
		b := s.rest(t, ann, "GET", "/nothing", nil)
		var e client.Error
		_ = json.Unmarshal(b.raw, &e)
		if a.header.Get("X-Request-Id") == "" || e.RequestID == "" || e.RequestID != b.header.Get("X-Request-Id") || a.header.Get("X-Request-Id") == e.RequestID {
			t.Errorf("X-Request-Id %q, then %q with requestId %q; want one each, the same in header and error", a.header.Get("X-Request-Id"), b.header.Get("X-Request-Id"), e.RequestID)
		}
	})
	t.Run("tokens only in the header", func(t *testing.T) {
		s.fails(t, nil, "GET", "/users/me?token="+ann.Token+"&access_token="+ann.Token, nil, 401, "TOKEN_MISSING")
		a := s.restHeader(t, nil, "GET", "/users/me", nil, http.Header{"Cookie": {"token=" + ann.Token + "; access_token=" + ann.Token}})
		if a.status != 401 {
			t.Errorf("a token in a cookie = %d; want 401", a.status)
		}
		for _, h := range []string{"Basic " + ann.Token, ann.Token, "Bearer", "Bearer "} {
			if a := s.restHeader(t, nil, "GET", "/users/me", nil, http.Header{"Authorization": {h}}); a.status != 401 {
				t.Errorf("Authorization %.12q… = %d; want 401", h, a.status)
			}
		}
		if a := s.restHeader(t, nil, "GET", "/users/me", nil, http.Header{"Authorization": {"bearer " + ann.Token}}); a.status != 200 {
			t.Errorf("the scheme in lower case = %d %s; want 200: schemes know no case", a.status, a.raw)
		}
	})
	t.Run("paths", func(t *testing.T) {
		for _, p := range []string{"/users/me/", "/users//me", "/messages/", "/", "/auth"} {
			if a := s.rest(t, ann, "GET", p, nil); a.status != 404 && a.status != 200 && a.status != 405 {
				t.Errorf("GET %s = %d; want 404, or a page", p, a.status)
			}
		}
		s.fails(t, ann, "GET", "/users/me/nothing", nil, 404, "NO_ROUTE")
	})
	t.Run("bodies", func(t *testing.T) {
		for _, tt := range []struct{ name, body, reason string }{
			{"two values", `{"nickname":"N"}{"nickname":"M"}`, "MALFORMED"},
			{"garbage behind", `{"nickname":"N"} x`, "MALFORMED"},
			{"a text", `"x"`, "MALFORMED"},
			{"null", `null`, "MALFORMED"},
			{"no UTF-8", "{\"nickname\":\"\xff\"}", "MALFORMED"},
			{"wrong type", `{"nickname":{}}`, "INVALID_FIELD"},
		} {
			t.Run(tt.name, func(t *testing.T) { s.fails(t, ann, "PATCH", "/users/me", tt.body, 400, tt.reason) })
		}
		deep := `{"zzz":` + strings.Repeat("[", 30000) + strings.Repeat("]", 30000) + `}`
		if a := s.rest(t, ann, "PATCH", "/users/me", deep); a.status != 200 && a.status != 400 {
			t.Errorf("30,000 nested lists = %d %s; want 200 or 400", a.status, a.raw)
		}
		s.ok(t, ann, "POST", "/auth/logout", ` {} `, nil)
	})
}

// 429, its advice, and whom the limit counts.
func TestContractRateLimit(t *testing.T) {
	s := startContract(t, "--api-gateway-rate-limit", "10")
	ann := s.user("ann")
	bob := s.user("bob")
	var limited answer
	for i := range 400 {
		if a := s.rest(t, ann, "GET", "/users/me", nil); a.status != 200 {
			if i < 15 {
				t.Errorf("request %d of ann was limited; want a burst of 20", i+1)
			}
			limited = a
			break
		}
	}
	wants(t, "the limit", limited.raw, `{"code":"RESOURCE_EXHAUSTED","reason":"RATE_LIMITED","message":"$text","fields":[],"retryAfterMs":"$num","requestId":"$text","$only":true}`)
	if after, err := strconv.Atoi(limited.header.Get("Retry-After")); limited.status != 429 || err != nil || after < 1 {
		t.Errorf("the limit = %d, Retry-After %q; want 429 and whole seconds", limited.status, limited.header.Get("Retry-After"))
	}
	s.ok(t, bob, "GET", "/users/me", nil, nil) // another user behind the same address
	// "counted before anything else": unknown paths too, per IP without a token.
	count := func(path string) int {
		n := 0
		for range 60 {
			if s.rest(t, nil, "GET", path, nil).status == 429 {
				n++
			}
		}
		return n
	}
	if count("/nothing") == 0 {
		t.Error("60 requests at once without a token, and none was limited")
	}
	s.ok(t, bob, "GET", "/users/me", nil, nil) // an office behind that address is not starved
	if n := count("/docs"); n != 0 {
		t.Errorf("/docs was limited %d times; want it exempt", n)
	}
	w := dial(t, s) // /ws too, while the address has used up its share
	_ = w.conn.Close()
}

// Who may open /ws.
func TestContractUpgrade(t *testing.T) {
	s := startContract(t, "--ws-gateway-origins", "https://chat.example.com")
	host := strings.TrimPrefix(s.base, "http://")
	for _, tt := range []struct {
		name   string
		header http.Header
		status int
		proto  string
	}{
		{"nothing offered", http.Header{}, 101, ""},
		{"json", http.Header{"Sec-Websocket-Protocol": {"oceanchat.json"}}, 101, "oceanchat.json"},
		{"json among others", http.Header{"Sec-Websocket-Protocol": {"foo, oceanchat.json"}}, 101, "oceanchat.json"},
		{"only unknown", http.Header{"Sec-Websocket-Protocol": {"foo, bar"}}, 400, ""},
		{"the same origin", http.Header{"Origin": {"http://" + host}}, 101, ""},
		{"a listed origin", http.Header{"Origin": {"https://chat.example.com"}}, 101, ""},
		{"a foreign origin", http.Header{"Origin": {"https://evil.example"}}, 403, ""},
		{"an origin that begins alike", http.Header{"Origin": {"http://" + host + ".evil.example"}}, 403, ""},
		{"the null origin", http.Header{"Origin": {"null"}}, 403, ""},
		{"no upgrade", nil, 400, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header := http.Header{}
			if tt.header != nil {
				header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
			}
			maps.Copy(header, tt.header)
			status, proto := s.upgrade(t, header)
			if tt.name == "no upgrade" && (status == 400 || status == 426) {
				return
			}
			if status != tt.status || proto != tt.proto {
				t.Errorf("upgrade = %d, subprotocol %q; want %d, %q", status, proto, tt.status, tt.proto)
			}
		})
	}
	t.Run("fifty without connect", func(t *testing.T) {
		// Which of 51 is one too many is the server's choice: they may be counted in another order than they came.
		var lines [51]*rawConn
		for i := range lines {
			lines[i] = dial(t, s)
		}
		codes := map[int]int{}
		for _, w := range lines {
			codes[w.closed(t)]++
		}
		if codes[4008] != 1 || codes[4001] != 50 {
			t.Errorf("51 unauthenticated connections of one address ended with %v; want one 4008 and fifty 4001", codes)
		}
	})
}

// upgrade asks for a WebSocket and returns the status and the chosen subprotocol.
func (s *server) upgrade(t *testing.T, header http.Header) (status int, proto string) {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t, 10*time.Second), "GET", s.base+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatalf("GET /ws: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode, resp.Header.Get("Sec-Websocket-Protocol")
}

// CORS: same origin by default.
func TestContractCORS(t *testing.T) {
	s := startContract(t, "--api-gateway-origins", "https://chat.example.com")
	for origin, want := range map[string]string{"https://chat.example.com": "https://chat.example.com", "https://evil.example": ""} {
		a := s.restHeader(t, nil, "OPTIONS", "/messages", nil, http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"authorization,content-type"}})
		if got := a.header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("preflight of %s = %d, allow %q; want %q", origin, a.status, got, want)
		}
	}
}
