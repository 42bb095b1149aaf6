package wsgateway_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	"github.com/oceanchat/oceanchat/internal/access/wsgateway"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// Invariant 8: what breaks a frame closes that connection with 4004, and no other.
func TestBadFrames(t *testing.T) {
	w := start(t)
	other, _ := w.connect("bystander", true)
	tests := []struct {
		name  string
		fresh bool // before connect
		bytes []byte
		code  int
	}{
		{name: "unmasked", bytes: rawFrame(ws.OpText, true, false, []byte(`{}`)), code: 4004},
		{name: "oversized by its header", bytes: rawFrame(ws.OpText, true, true, make([]byte, 64<<10+1))[:14], code: 4004},
		{name: "oversized in fragments", bytes: append(rawFrame(ws.OpText, false, true, make([]byte, 40<<10)), rawFrame(ws.OpContinuation, true, true, make([]byte, 30<<10))...), code: 4004},
		{name: "length beyond 63 bits", bytes: []byte{0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4}, code: 4004},
		{name: "length not shortest", bytes: []byte{0x81, 0xfe, 0, 2, 1, 2, 3, 4, 0, 0}, code: 4004},
		{name: "binary on json", bytes: rawFrame(ws.OpBinary, true, true, []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)), code: 4004},
		{name: "reserved opcode", bytes: rawFrame(0x3, true, true, nil), code: 4004},
		{name: "reserved bit", bytes: []byte{0xc1, 0x80, 1, 2, 3, 4}, code: 4004},
		{name: "continuation of nothing", bytes: rawFrame(ws.OpContinuation, true, true, []byte("x")), code: 4004},
		{name: "message within a message", bytes: append(rawFrame(ws.OpText, false, true, []byte("{")), rawFrame(ws.OpText, true, true, []byte("}"))...), code: 4004},
		{name: "fragmented ping", bytes: rawFrame(ws.OpPing, false, true, nil), code: 4004},
		{name: "long ping", bytes: []byte{0x89, 0xfe, 0, 200, 1, 2, 3, 4}, code: 4004},
		{name: "not UTF-8", bytes: rawFrame(ws.OpText, true, true, []byte("{\"a\":\"\xff\"}")), code: 4004},
		{name: "close of one byte", bytes: rawFrame(ws.OpClose, true, true, []byte{3}), code: 4004},
		{name: "close with a code nobody may send", bytes: rawFrame(ws.OpClose, true, true, []byte{0x03, 0xed}), code: 4004},
		{name: "4 KiB before connect", fresh: true, bytes: rawFrame(ws.OpText, true, true, make([]byte, 4<<10+1))[:8], code: 4004},
		{name: "not JSON before connect", fresh: true, bytes: rawFrame(ws.OpText, true, true, []byte("hello")), code: 4004},
		{name: "batch before connect", fresh: true, bytes: rawFrame(ws.OpText, true, true, []byte(`[]`)), code: 4004},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := w.dial()
			if !tt.fresh {
				c.connect("u1", true)
			}
			c.raw(tt.bytes)
			c.wantClose(tt.code)
		})
	}
	other.request(1, "still.here", `{}`)
	if m := other.read(); m.Error != nil {
		t.Errorf("bystander's request answered %s; want its result", m.raw)
	}
}

// Fragments with a control frame between them are one message.
func TestFragments(t *testing.T) {
	w := start(t)
	c, _ := w.connect("u1", true)
	text := `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	c.raw(rawFrame(ws.OpText, false, true, []byte(text[:10])))
	c.raw(rawFrame(ws.OpPing, true, true, []byte("p")))
	if f, err := c.next(); err != nil || f.op != ws.OpPong {
		t.Fatalf("between fragments = %v, %v; want a pong", f, err)
	}
	c.raw(rawFrame(ws.OpContinuation, false, true, nil))
	c.raw(rawFrame(ws.OpContinuation, true, true, []byte(text[10:])))
	if m := c.read(); m.raw != `{"jsonrpc":"2.0","id":1,"result":{}}` {
		t.Errorf("fragmented ping answered %s; want its result", m.raw)
	}
	big := fmt.Sprintf(`{"jsonrpc":"2.0","id":2,"method":"a.b","params":{"x":%q}}`, strings.Repeat("x", 60<<10))
	c.text(big)
	if m := c.read(); string(m.ID) != "2" || len(m.Result) < 60<<10 {
		t.Errorf("60 KiB answered %.80s; want them back", m.raw)
	}
}

// What is no request is answered with the number that JSON-RPC has for it, and the connection stays.
func TestBadEnvelopes(t *testing.T) {
	w := start(t)
	long := strings.Repeat("i", 65)
	tests := []struct {
		name, in, id string
		code         int
	}{
		{"not JSON", `{"jsonrpc":`, "null", -32700},
		{"two values", `{} {}`, "null", -32700},
		{"batch", `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, "null", -32600},
		{"no jsonrpc", `{"id":1,"method":"ping"}`, "1", -32600},
		{"jsonrpc 1.0", `{"jsonrpc":"1.0","id":1,"method":"ping"}`, "1", -32600},
		{"no method", `{"jsonrpc":"2.0","id":1}`, "1", -32600},
		{"lane 4", `{"jsonrpc":"2.0","id":1,"method":"ping","lane":4}`, "1", -32600},
		{"id null", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, "null", -32600},
		{"id negative", `{"jsonrpc":"2.0","id":-1,"method":"ping"}`, "null", -32600},
		{"id with a fraction", `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`, "null", -32600},
		{"id too large", `{"jsonrpc":"2.0","id":4294967296,"method":"ping"}`, "null", -32600},
		{"id too long", `{"jsonrpc":"2.0","id":"` + long + `","method":"ping"}`, "null", -32600},
		{"id an object", `{"jsonrpc":"2.0","id":{},"method":"ping"}`, "null", -32600},
		{"params an array", `{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}`, "1", -32602},
		{"ack of text", `{"jsonrpc":"2.0","id":1,"method":"ack","params":{"n":"x"}}`, "1", 3},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := w.connect(fmt.Sprintf("u%d", i), true)
			c.text(tt.in)
			m := c.read()
			if m.Error == nil || m.Error.Code != tt.code || string(m.ID) != tt.id {
				t.Fatalf("%s answered %s; want error %d for id %s", tt.in, m.raw, tt.code, tt.id)
			}
			c.text(`{"jsonrpc":"2.0","id":4294967295,"method":"ping"}`)
			if m := c.read(); m.raw != `{"jsonrpc":"2.0","id":4294967295,"result":{}}` {
				t.Errorf("ping afterwards answered %s; want its result", m.raw)
			}
		})
	}
}

func TestTenthBrokenFrame(t *testing.T) {
	w := start(t)
	c, _ := w.connect("u1", true)
	for i := range 10 {
		c.text(`nonsense`)
		if m := c.read(); m.Error == nil || m.Error.Code != -32700 {
			t.Fatalf("broken frame %d answered %s; want -32700", i+1, m.raw)
		}
		if i == 8 {
			c.request(1, "ping", `{}`)
			if m := c.read(); m.Error != nil {
				t.Fatalf("ping after nine broken frames answered %s; want its result", m.raw)
			}
		}
	}
	c.wantClose(4004)
}

// WSGW-2: connect's errors are answered first, then the connection closes with 4001, or with 4008 if the server failed.
func TestConnectRefused(t *testing.T) {
	w := start(t)
	w.sessions.set("s-denied", faststate.Denied)
	w.sessions.set("s-lost", faststate.Unknown)
	w.sessions.set("s-open", faststate.Unknown)
	w.auth.end("s-lost")
	tests := []struct {
		name, method, params, reason string
	}{
		{"no token", "connect", `{"deviceId":"d1","platform":"web"}`, "TOKEN_MISSING"},
		{"bad token", "connect", `{"token":"x","deviceId":"d1","platform":"web"}`, "TOKEN_INVALID"},
		{"another device", "connect", `{"token":"u1:s1:d1","deviceId":"d2","platform":"web"}`, "INVALID_FIELD"},
		{"another platform", "connect", `{"token":"u1:s1:d1","deviceId":"d1","platform":"ios"}`, "INVALID_FIELD"},
		{"unknown platform", "connect", `{"token":"u1:s1:d1","deviceId":"d1","platform":"fridge"}`, "INVALID_FIELD"},
		{"revoked", "connect", connectParams("u1", "s-denied", "d1", true), "SESSION_ENDED"},
		{"revoked, by the database", "connect", connectParams("u1", "s-lost", "d1", true), "SESSION_ENDED"},
		{"another method first", "message.send", `{}`, "TOKEN_MISSING"},
		{"ping first", "ping", `{}`, "TOKEN_MISSING"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := w.dial()
			c.request(3, tt.method, tt.params)
			if m := c.read(); m.Error == nil || m.Error.Data.Reason != tt.reason || string(m.ID) != "3" {
				t.Fatalf("%s answered %s; want %s", tt.method, m.raw, tt.reason)
			}
			c.wantClose(4001)
		})
	}
	t.Run("session that only the database knows", func(t *testing.T) {
		c := w.dial()
		c.request(3, "connect", connectParams("u1", "s-open", "d1", true))
		if m := c.read(); m.Error != nil {
			t.Errorf("connect answered %s; want a result", m.raw)
		}
	})
	t.Run("store down", func(t *testing.T) {
		w.sessions.mu.Lock()
		w.sessions.err = fmt.Errorf("no route to host")
		w.sessions.mu.Unlock()
		c := w.dial()
		c.request(3, "connect", connectParams("u1", "s1", "d1", true))
		if m := c.read(); m.Error == nil || m.Error.Data.Reason != "SESSION_STORE_DOWN" || strings.Contains(m.raw, "route") {
			t.Errorf("connect answered %s; want SESSION_STORE_DOWN without the cause", m.raw)
		}
		c.wantClose(4008) // it is no fault of the token
	})
}

func TestUnauthenticatedPerAddress(t *testing.T) {
	w := start(t, func(c *wsgateway.Config) { c.Unauthenticated = 2 })
	a, b := w.dial(), w.dial()
	a.raw(rawFrame(ws.OpPing, true, true, nil)) // a is served, so it counts
	_, _ = a.next()
	b.raw(rawFrame(ws.OpPing, true, true, nil))
	_, _ = b.next()
	w.dial().wantClose(4008)
	a.connect("u1", true) // does not count any more
	w.connect("u2", true)
}

func TestSilence(t *testing.T) {
	w := start(t, func(c *wsgateway.Config) {
		c.AuthTimeout, c.Heartbeat, c.CloseTimeout = 200*time.Millisecond, 300*time.Millisecond, 100*time.Millisecond
	})
	silent := w.dial()
	live, _ := w.connect("u1", true)
	deaf, _ := w.connect("u2", true)
	silent.wantClose(4001)
	pings := 0
	for pings < 4 { // longer than two heartbeats
		f, err := live.next()
		if err != nil {
			t.Fatalf("a client that answers pings got %v; want more pings", err)
		}
		if f.op == ws.OpPing {
			live.raw(rawFrame(ws.OpPong, true, true, f.body))
			pings++
		}
	}
	deaf.wantClose(4007)
	// Half open: the client neither answers the close nor ends its side.
	half, _ := w.connect("u3", true)
	eventually(t, "the half-open connection is forgotten", func() bool {
		_, byes := w.presence.said()
		return slices.ContainsFunc(byes, func(b *presencev1.Connection) bool { return b.GetUserId() == "u3" })
	})
	_ = half.nc.Close()
}

func TestInFlight(t *testing.T) {
	w := start(t)
	open := w.router.gate("slow.one")
	defer open()
	c, _ := w.connect("u1", true)
	for i := range 64 {
		c.request(i, "slow.one", `{}`)
	}
	c.request(100, "ping", `{}`)
	if m := c.read(); string(m.ID) != "100" {
		t.Fatalf("ping beside 64 requests answered %s; want its result at once", m.raw)
	}
	c.request(64, "slow.one", `{}`)
	c.wantClose(4008)
}

// Requests of one lane are answered in order, one at a time; lanes do not wait for each other.
func TestLanes(t *testing.T) {
	w := start(t)
	open := w.router.gate("slow.one")
	c, _ := w.connect("u1", true)
	c.text(`{"jsonrpc":"2.0","id":0,"method":"slow.one"}`)
	for i := 1; i <= 20; i++ {
		c.text(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"fast.one"}`, i))
	}
	for i := 21; i <= 40; i++ {
		c.text(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"fast.one","lane":3}`, i))
	}
	for i := 21; i <= 40; i++ {
		if m := c.read(); string(m.ID) != fmt.Sprint(i) {
			t.Fatalf("lane 3 answered %s; want id %d", m.raw, i)
		}
	}
	eventually(t, "lane 0 is at work", func() bool { return len(w.router.requests()) >= 21 })
	if n := len(w.router.requests()); n != 21 {
		t.Errorf("router saw %d requests; want 21: lane 0 has one at work", n)
	}
	open()
	for i := range 21 {
		if m := c.read(); string(m.ID) != fmt.Sprint(i) {
			t.Fatalf("lane 0 answered %s; want id %d", m.raw, i)
		}
	}
}

// Invariant 7: a request that waited too long for the one before it is refused, reaches nobody, and the next one is served.
// After that a quarter of the time is too long.
func TestLaneWait(t *testing.T) {
	const wait = 4 * time.Second
	w := start(t, func(cfg *wsgateway.Config) { cfg.LaneWait = wait })
	open := w.router.gate("slow.one")
	c, _ := w.connect("u1", true)
	c.request(0, "slow.one", `{}`)
	c.text(`{"jsonrpc":"2.0","method":"late.two"}`)
	c.request(1, "late.one", `{}`)
	c.request(2, "ping", `{}`) // so they all have arrived
	if m := c.read(); string(m.ID) != "2" {
		t.Fatalf("ping answered %s; want its result", m.raw)
	}
	arrived := time.Now()
	eventually(t, "they wait for too long", func() bool { return time.Since(arrived) > wait })
	open()
	if m := c.read(); string(m.ID) != "0" || m.Error != nil {
		t.Fatalf("the first request answered %s; want its result", m.raw)
	}
	if m := c.read(); string(m.ID) != "1" || m.Error == nil || m.Error.Data.Reason != "OVERLOADED" || m.Error.Data.RetryAfterMs <= 0 {
		t.Fatalf("a request that waited too long answered %s; want OVERLOADED with advice when to retry", m.raw)
	}
	c.request(3, "fast.one", `{}`)
	if m := c.read(); string(m.ID) != "3" || m.Error != nil {
		t.Errorf("the next request answered %s; want its result", m.raw)
	}
	if n := len(w.router.requests()); n != 2 {
		t.Errorf("router saw %d requests; want 2: those that did not wait too long", n)
	}
	open = w.router.gate("slow.two")
	c.request(4, "slow.two", `{}`)
	c.request(5, "late.three", `{}`)
	c.request(6, "ping", `{}`)
	if m := c.read(); string(m.ID) != "6" {
		t.Fatalf("ping answered %s; want its result", m.raw)
	}
	arrived = time.Now()
	eventually(t, "it waits for too long again", func() bool { return time.Since(arrived) > wait/4 })
	open()
	if m := c.read(); string(m.ID) != "4" || m.Error != nil {
		t.Fatalf("the first request answered %s; want its result", m.raw)
	}
	if m := c.read(); string(m.ID) != "5" || m.Error == nil || m.Error.Data.Reason != "OVERLOADED" {
		t.Errorf("a request that waited a quarter of the time answered %s; want OVERLOADED", m.raw)
	}
}

func TestRouterGone(t *testing.T) {
	w := start(t)
	w.router.err = fmt.Errorf("secret cause")
	c, _ := w.connect("u1", true)
	c.request(1, "a.b", `{}`)
	if m := c.read(); m.Error == nil || m.Error.Data.Reason != "INTERNAL" || strings.Contains(m.raw, "secret") {
		t.Errorf("request answered %s; want INTERNAL without the cause", m.raw)
	}
	c.text(`{"jsonrpc":"2.0","method":"a.b"}`)
	c.request(2, "ping", `{}`)
	if m := c.read(); string(m.ID) != "2" {
		t.Errorf("after a request without id came %s; want only the ping's answer", m.raw)
	}
}
