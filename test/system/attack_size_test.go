package system

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	enc "encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/oceanchat/oceanchat/test/client"
)

// What is too large, too long, too deep or too many is refused at the REST door with the contract's error, and costs no memory.
func TestOversizedREST(t *testing.T) {
	s := startContract(t)
	ann, bob := s.user("ann"), s.user("bob")
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	_, _ = z.Write(bytes.Repeat([]byte(" "), 32<<20))
	_ = z.Close()
	many := func(n int, one string) string { return "[" + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + "]" }
	long := strings.Repeat("x", 10<<10)
	forged := enc.RawURLEncoding.EncodeToString([]byte(strings.Repeat("\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 100)))
	conv := "/conversations/" + directOf(ann, bob)
	before := s.metric("process_resident_memory_bytes")
	tests := []struct {
		name, method, path, body, reason string // "" is that it is taken
		header                           http.Header
	}{
		{name: "a body of 1 MiB", method: "POST", path: "/messages", body: strings.Repeat(" ", 1<<20), reason: "TOO_LARGE"},
		{name: "33 levels", method: "PATCH", path: "/users/me", body: `{"a":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`, reason: "MALFORMED"},
		{name: "30,000 levels of objects", method: "PATCH", path: "/users/me", body: strings.Repeat(`{"a":`, 10000) + "1" + strings.Repeat("}", 10000), reason: "MALFORMED"},
		{name: "5,000 unknown members", method: "PATCH", path: "/users/me", body: `{"a":1` + numbered(5000, `,"k%d":1`) + `}`},
		{name: "4,000 times the same member", method: "PATCH", path: "/users/me", body: `{"nickname":"N"` + strings.Repeat(`,"nickname":"N"`, 4000) + `}`, reason: "MALFORMED"},
		{name: "a number of 60,000 digits", method: "POST", path: conv + "/read", body: `{"seq":` + strings.Repeat("9", 60000) + `}`, reason: "INVALID_FIELD"},
		{name: "an exponent of 60,000 digits", method: "POST", path: conv + "/read", body: `{"seq":1e` + strings.Repeat("9", 60000) + `}`, reason: "INVALID_FIELD"},
		{name: "10,000 members of a group", method: "POST", path: "/groups", body: `{"name":"G","memberIds":` + many(10000, `"u"`) + `}`, reason: "NOT_FOUND"},
		{name: "10,000 different members of a group", method: "POST", path: "/groups", body: `{"name":"G","memberIds":["x"` + numbered(5000, `,"u%d"`) + `]}`, reason: "LIMIT_REACHED"},
		{name: "101 mentions", method: "POST", path: "/messages", body: `{"clientMsgId":"a","toUserId":"` + bob.ID + `","text":{"text":"x","mentions":` + many(101, `{"userId":"`+bob.ID+`","offset":0,"length":1}`) + `}}`, reason: "INVALID_FIELD"},
		{name: "a clientMsgId of 65", method: "POST", path: "/messages", body: `{"clientMsgId":"` + long[:65] + `","toUserId":"` + bob.ID + `","text":{"text":"x"}}`, reason: "INVALID_FIELD"},
		{name: "501 users' presence", method: "GET", path: "/presence?userIds=u" + numbered(500, ",u%d"), reason: "INVALID_FIELD"},
		{name: "a user id of 10 KiB", method: "GET", path: "/users/" + long, reason: "INVALID_FIELD"},
		{name: "a conversation id of 10 KiB", method: "GET", path: "/conversations/g~" + long, reason: "INVALID_FIELD"},
		{name: "a path of 3,000 parts", method: "GET", path: strings.Repeat("/a", 3000), reason: "NO_ROUTE"},
		{name: "2,000 parameters", method: "GET", path: "/conversations?a=1" + strings.Repeat("&pageSize=1", 1000), reason: "INVALID_FIELD"},
		{name: "a search for 10 KiB", method: "GET", path: "/users?query=" + long, reason: "INVALID_FIELD"},
		{name: "a page token of 10 KiB", method: "GET", path: "/conversations?pageToken=" + long, reason: "INVALID_FIELD"},
		{name: "a page token that was made up", method: "GET", path: "/conversations?pageToken=" + forged, reason: "INVALID_FIELD"},
		{name: "a page token of another list", method: "GET", path: "/users/me/friends?pageToken=" + forged, reason: "INVALID_FIELD"},
		{name: "a sync token of 60 KiB", method: "POST", path: "/sync", body: `{"syncToken":"` + strings.Repeat("A", 60000) + `"}`, reason: "INVALID_FIELD"},
		{name: "a sync token that was made up", method: "POST", path: "/sync", body: `{"syncToken":"` + forged + `"}`, reason: "INVALID_FIELD"},
		{name: "a password of 1,000", method: "POST", path: "/auth/register", body: `{"username":"cid","password":"` + long[:1000] + `"}`, reason: "INVALID_FIELD"},
		{name: "a bomb", method: "POST", path: "/messages", body: gz.String(), reason: "MALFORMED", header: http.Header{"Content-Encoding": {"gzip"}}},
		{name: "a request id of 10 KiB", method: "GET", path: "/users/me", header: http.Header{"X-Request-Id": {long}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var body any
			if tt.body != "" {
				body = tt.body
			}
			a := s.restHeader(t, ann, tt.method, tt.path, body, tt.header)
			if got := reasonOf(a); got != tt.reason || (tt.reason == "") != (a.status == 200) || len(a.raw) > 4<<10 || len(a.header.Get("X-Request-Id")) > 64 {
				t.Errorf("= %d %.300s; want %q in a short answer", a.status, a.raw, tt.reason)
			}
		})
	}
	long = strings.Repeat(long, 4)
	for name, header := range map[string]http.Header{
		"a header of 40 KiB": {"X-A": {long}}, "a token of 40 KiB": {"Authorization": {"Bearer " + long}},
	} {
		if a := s.restHeader(t, nil, "GET", "/users/me", nil, header); a.status != 431 {
			t.Errorf("%s = %d; want 431, which the HTTP server itself answers", name, a.status)
		}
	}
	if a := s.rest(t, ann, "GET", "/users/"+long, nil); a.status != 431 {
		t.Errorf("a URL of 40 KiB = %d; want 431, which the HTTP server itself answers", a.status)
	}
	s.ok(t, ann, "GET", "/users/me", nil, nil)
	if after := s.metric("process_resident_memory_bytes"); after-before > 128<<20 {
		t.Errorf("it took %.0f MiB", (after-before)/(1<<20))
	}
}

func numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func reasonOf(a answer) string {
	_, rest, _ := strings.Cut(string(a.raw), `"reason":"`)
	reason, _, _ := strings.Cut(rest, `"`)
	if a.status == 200 {
		return ""
	}
	return reason
}

// The same on the long connection: each ends the connection that it came on, or is answered, and harms no other.
func TestOversizedFrames(t *testing.T) {
	s := startDoors(t, false)
	ann := s.member(t, "ann")
	stop := s.othersAreServed(t, ann)
	defer stop()
	bob := s.member(t, "bob")
	frame := func(op ws.OpCode, fin bool, payload []byte) []byte {
		return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, fin, payload)))
	}
	var bomb bytes.Buffer
	z, _ := flate.NewWriter(&bomb, 9)
	_, _ = io.WriteString(z, strings.Repeat(" ", 16<<20))
	_ = z.Close()
	compressed := ws.NewFrame(ws.OpText, true, bomb.Bytes())
	compressed.Header.Rsv = ws.Rsv(true, false, false)
	nested := []byte("x")
	for range 2000 {
		nested = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), nested)
	}
	groups := bytes.Repeat(protowire.AppendTag(nil, 9, protowire.StartGroupType), 30000)
	tests := []struct {
		name      string
		door      door
		connected bool
		raw       [][]byte
		want      int // 0 is that the connection goes on
	}{
		{"fragments that add up, before connect", doors[0], false, [][]byte{frame(ws.OpText, false, make([]byte, 3000)), frame(ws.OpContinuation, false, make([]byte, 3000))}, 4004},
		{"fragments that add up", doors[0], true, [][]byte{frame(ws.OpText, false, make([]byte, 60000)), frame(ws.OpContinuation, false, make([]byte, 6000))}, 4004},
		{"a length of 2^63", doors[0], true, [][]byte{{0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}}, 4004},
		{"a compressed frame", doors[0], true, [][]byte{ws.MustCompileFrame(ws.MaskFrame(compressed))}, 4004},
		{"a ping of 126", doors[0], true, [][]byte{{0x89, 0xfe, 0, 126, 0, 0, 0, 0}}, 4004},
		{"a name of 60,000", doors[0], true, [][]byte{frame(ws.OpText, true, []byte(`{"jsonrpc":"2.0","method":"`+strings.Repeat("a", 60000)+`"}`))}, 0},
		{"an id of 65", doors[0], true, [][]byte{frame(ws.OpText, true, []byte(`{"jsonrpc":"2.0","id":"`+strings.Repeat("a", 65)+`","method":"ping"}`))}, 0},
		{"60,000 levels", doors[0], true, [][]byte{frame(ws.OpText, true, []byte(strings.Repeat("[", 60000)))}, 0},
		{"levels in params", doors[0], true, [][]byte{frame(ws.OpText, true, []byte(`{"jsonrpc":"2.0","id":9,"method":"user.updateMe","params":{"a":`+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)+`}}`))}, 0},
		{"messages in messages", doors[1], true, [][]byte{frame(ws.OpBinary, true, protobufFrame("message.send", nested))}, 0},
		{"groups without end", doors[1], true, [][]byte{frame(ws.OpBinary, true, groups)}, 0},
		{"groups without end in params", doors[1], true, [][]byte{frame(ws.OpBinary, true, protobufFrame("message.send", groups))}, 0},
		{"a length of 2^63 in a field", doors[1], true, [][]byte{frame(ws.OpBinary, true, append(protowire.AppendTag(nil, 4, protowire.BytesType), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f))}, 0},
		{"a length of 2^32", doors[2], true, [][]byte{{0xff, 0xff, 0xff, 0xff, 0x0f}}, 4004},
		{"a length without end", doors[2], true, [][]byte{bytes.Repeat([]byte{0xff}, 11)}, 4004},
		{"a length without end, before connect", doors[2], false, [][]byte{bytes.Repeat([]byte{0x80}, 11)}, 4004},
		{"65 requests at once", doors[0], true, [][]byte{bytes.Repeat(frame(ws.OpText, true, []byte(`{"jsonrpc":"2.0","id":9,"method":"query.sync","params":{}}`)), 400)}, 4008},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := dialDoor(t, s, tt.door)
			if tt.connected {
				l.connectAs(s.device(t, bob, "d-1", "web"))
			}
			for _, b := range tt.raw {
				l.raw(b)
			}
			if tt.want != 0 {
				params, _ := l.closed()
				if !strings.HasPrefix(params, fmt.Sprintf(`{"code":%d,`, tt.want)) {
					t.Errorf("closed with %s; want %d", params, tt.want)
				}
				return
			}
			l.request("ping", "{}", 4711)
			for {
				r, err := l.frame()
				if err != nil {
					t.Fatalf("the connection afterwards: %v; want it to go on", err)
				}
				if r != nil && r.id == 4711 {
					return
				}
				if r != nil && r.err == nil {
					t.Errorf("it was answered with %q; want an error", r.result)
				}
			}
		})
	}
}

// protobufFrame is a request with params as they are.
func protobufFrame(method string, params []byte) []byte {
	b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 9)
	b = protowire.AppendString(protowire.AppendTag(b, 3, protowire.BytesType), method)
	return protowire.AppendBytes(protowire.AppendTag(b, 4, protowire.BytesType), params)
}

// Which pages may use the doors: by default those of the same origin, and of a list those that are in it and no others that
// look like them. What a client says of its host or of a proxy changes nothing for others.
func TestOrigins(t *testing.T) {
	listed := startContract(t, "--api-gateway-origins", "https://chat.example.com", "--ws-gateway-origins", "https://chat.example.com")
	closed := startContract(t)
	self := func(s *server) string { return strings.TrimPrefix(s.base, "http://") }
	tests := []struct {
		origin           string
		listed, byItself bool
	}{
		{"https://chat.example.com", true, false},
		{"HTTPS://CHAT.EXAMPLE.COM", true, false},
		{"http://chat.example.com", false, false},
		{"https://chat.example.com:8443", false, false},
		{"https://chat.example.com.evil.example", false, false},
		{"https://evil-chat.example.com", false, false},
		{"https://sub.chat.example.com", false, false},
		{"https://chat.example.com@evil.example", false, false},
		{"https://evil.example/https://chat.example.com", false, false},
		{"https://evil.example#https://chat.example.com", false, false},
		{"https://chat.example.com, https://evil.example", false, false},
		{"null", false, false},
		{"*", false, false},
		{"file://", false, false},
		{"://", false, false},
		{"SELF", true, true},
		{"SELF.evil.example", false, false},
		{"evil.example@SELF", false, false},
	}
	for _, tt := range tests {
		for _, s := range []*server{listed, closed} {
			want := tt.listed
			if s == closed {
				want = tt.byItself
			}
			origin := tt.origin
			if strings.Contains(origin, "SELF") {
				origin = "http://" + strings.ReplaceAll(origin, "SELF", self(s))
			}
			header := http.Header{
				"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
				"Origin": {origin}, "X-Forwarded-Host": {"chat.example.com"}, "X-Forwarded-Proto": {"https"}, "Forwarded": {"host=evil.example"},
			}
			if status, _ := s.upgrade(t, header); (status == 101) != want || status != 101 && status != 403 {
				t.Errorf("/ws for %q = %d; want it let in: %v", origin, status, want)
			}
			pre := s.restHeader(t, nil, "OPTIONS", "/messages", nil, http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"POST"}})
			allow := pre.header.Get("Access-Control-Allow-Origin")
			if (pre.status == 204) != want || (allow != "") != (want && !strings.Contains(tt.origin, "SELF")) {
				t.Errorf("a preflight of %q = %d, allowed %q; want %v", origin, pre.status, allow, want)
			}
			if pre.header.Get("Access-Control-Allow-Credentials") != "" || pre.header.Get("Vary") != "Origin" {
				t.Errorf("a preflight of %q: %v; want no credentials, and Vary", origin, pre.header)
			}
		}
	}
	t.Run("headers", func(t *testing.T) { checkHeaders(t, closed) })
}

// checkHeaders looks at what answers tell browsers.
func checkHeaders(t *testing.T, s *server) {
	ann := s.user("ann")
	for path, want := range map[string]map[string]string{
		"/docs":         {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Content-Security-Policy": "default-src 'none'"},
		"/openapi.json": {"X-Content-Type-Options": "nosniff"},
		"/users/me":     {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"},
		"/no/where":     {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"},
	} {
		a := s.rest(t, ann, "GET", path, nil)
		for name, value := range want {
			if got := a.header.Get(name); !strings.HasPrefix(got, value) {
				t.Errorf("%s of %s = %q; want %s", name, path, got, value)
			}
		}
		if a.header.Get("Server") != "" || a.header.Get("Set-Cookie") != "" || a.header.Get("X-Powered-By") != "" {
			t.Errorf("headers of %s = %v; want no cookie and nothing of what serves", path, a.header)
		}
	}
	if csp := s.rest(t, nil, "GET", "/docs", nil).header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("the policy of /docs = %s; want no frames and nothing unsafe", csp)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.base+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "evil.example"
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := resp.Header.Get("Location"); got != "/docs" {
		t.Errorf("/ of a foreign Host leads to %q; want /docs", got)
	}
	a := s.rest(t, &client.User{REST: client.REST{Token: ann.Token}}, "GET", "/users/me?x="+ann.Refresh, nil)
	if a.status != 200 || strings.Contains(s.output(), ann.Refresh) {
		t.Errorf("a query string is in the log, or refused: %d", a.status)
	}
}
