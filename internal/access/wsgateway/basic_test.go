package wsgateway_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/internal/access/wsgateway"
	"github.com/oceanchat/oceanchat/internal/chat"
)

// WSGW-1: the handshake's rules for subprotocols and origins.
func TestHandshake(t *testing.T) {
	w := start(t)
	tests := []struct {
		name, protocols, origin string
		status                  int
		chosen                  string
	}{
		{name: "nothing offered", status: 101},
		{name: "json", protocols: "oceanchat.json", status: 101, chosen: "oceanchat.json"},
		{name: "proto", protocols: "oceanchat.proto", status: 101, chosen: "oceanchat.proto"},
		{name: "the first known one", protocols: "chat, oceanchat.proto, oceanchat.json", status: 101, chosen: "oceanchat.proto"},
		{name: "only unknown ones", protocols: "chat, superchat", status: 400},
		{name: "same origin", origin: "http://" + w.addr, status: 101},
		{name: "foreign origin", origin: "https://evil.example", status: 403},
		{name: "opaque origin", origin: "null", status: 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			if tt.protocols != "" {
				h.Set("Sec-WebSocket-Protocol", tt.protocols)
			}
			if tt.origin != "" {
				h.Set("Origin", tt.origin)
			}
			c, status, err := w.handshake(h)
			if err != nil || status != tt.status {
				t.Fatalf("handshake = %d, %v; want %d", status, err, tt.status)
			}
			if c.proto != tt.chosen {
				t.Errorf("subprotocol = %q; want %q", c.proto, tt.chosen)
			}
			_ = c.nc.Close()
		})
	}
}

// A handshake that is refused has an id like every other request: that of api-gateway before it, the caller's, or a new one.
func TestRefusedHandshakeHasID(t *testing.T) {
	w := build(t, defaults(t), wsgateway.Deps{Mounted: true}, slog.DiscardHandler)
	for _, tt := range []struct{ name, given, caller, want string }{
		{name: "of api-gateway", given: "gw1", caller: "me1", want: "gw1"},
		{name: "of the caller", caller: "me1", want: "me1"},
		{name: "no id", caller: "a b"},
		{name: "none"},
	} {
		rec, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/ws", nil)
		r.Header.Set("X-Request-Id", tt.caller)
		if tt.given != "" {
			rec.Header().Set("X-Request-Id", tt.given)
		}
		w.gw.Handler().ServeHTTP(rec, r)
		var body struct{ RequestID string }
		if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		id := rec.Header().Get("X-Request-Id")
		if !chat.ValidID(id) || body.RequestID != id || tt.want != "" && id != tt.want {
			t.Errorf("%s: requestId = %q, X-Request-Id = %q; want %q in both", tt.name, body.RequestID, id, tt.want)
		}
	}
}

// WSGW-2, WSGW-3: connect answers with the sync; other requests go to router with identity, and come back.
func TestConnectAndRequest(t *testing.T) {
	w := start(t)
	c := w.dial()
	c.request(1, "connect", connectParams("u1", "s1", "d1", true))
	m := c.read()
	var got map[string]any
	if err := json.Unmarshal(m.Result, &got); err != nil {
		t.Fatalf("connect answered %s", m.raw)
	}
	if !strings.HasPrefix(m.raw, `{"jsonrpc":"2.0","id":1,"result":{"connectionId":"`) {
		t.Errorf("connect answered %s; want jsonrpc, id, then the result in order", m.raw)
	}
	want := map[string]any{"userId": "u1", "heartbeatSeconds": 30.0, "epoch": 1.0, "resync": false, "syncToken": "t-u1", "nextPageToken": ""}
	for k, v := range want {
		if !cmp.Equal(got[k], v) {
			t.Errorf("connect result %s = %v; want %v", k, got[k], v)
		}
	}
	if n := len(got["conversations"].([]any)); n != 1 {
		t.Errorf("connect result has %d conversations; want 1", n)
	}

	c.text(`{"jsonrpc":"2.0","id":"a","method":"brand.new","lane":2,"params":{"x":[1]}}`)
	if m := c.read(); m.raw != `{"jsonrpc":"2.0","id":"a","result":{"x":[1]}}` {
		t.Errorf("request answered %s; want its params", m.raw)
	}
	seen := w.router.requests()
	if len(seen) != 1 {
		t.Fatalf("router saw %d requests; want 1", len(seen))
	}
	r := seen[0]
	if r.GetUserId() != "u1" || r.GetSessionId() != "s1" || r.GetDeviceId() != "d1" || r.GetGatewayId() != string(w.gw.ID()) ||
		r.GetConnectionId() != got["connectionId"] || r.GetRequestId() == "" || r.GetForm() != 1 {
		t.Errorf("router saw %v; want the connection's identity", r)
	}
	if string(r.GetPacket()) != `{"jsonrpc":"2.0","id":"a","method":"brand.new","lane":2,"params":{"x":[1]}}` {
		t.Errorf("packet = %s; want the client's own bytes", r.GetPacket())
	}

	c.request(7, "ping", `{}`)
	if m := c.read(); m.raw != `{"jsonrpc":"2.0","id":7,"result":{}}` {
		t.Errorf("ping answered %s; want {}", m.raw)
	}
	c.request(8, "ack", `{"n":0}`)
	if m := c.read(); m.raw != `{"jsonrpc":"2.0","id":8,"result":{}}` {
		t.Errorf("ack answered %s; want {}", m.raw)
	}
	c.request(9, "connect", connectParams("u1", "s1", "d1", true))
	if m := c.read(); m.Error == nil || m.Error.Data.Reason != "MALFORMED" {
		t.Errorf("second connect answered %s; want MALFORMED", m.raw)
	}
	c.request(10, "test.panic", `{}`)
	if m := c.read(); m.Error == nil || m.Error.Data.Reason != "INTERNAL" {
		t.Errorf("a panic below answered %s; want INTERNAL", m.raw)
	}
	c.raw(rawFrame(ws.OpPing, true, true, []byte("hi")))
	if f, err := c.next(); err != nil || f.op != ws.OpPong || string(f.body) != "hi" {
		t.Errorf("ping frame answered %v, %v; want its pong", f, err)
	}
	c.raw(rawFrame(ws.OpClose, true, true, []byte{0x03, 0xe8}))
	if push, closed := c.closing(); push != 0 || closed != 1000 {
		t.Errorf("close handshake = push %d, frame %d; want 0, 1000", push, closed)
	}
	eventually(t, "goodbye", func() bool { _, byes := w.presence.said(); return len(byes) == 1 })
}

// Requests that do not wait for the answer to connect come after it.
func TestRequestsBehindConnect(t *testing.T) {
	w := start(t)
	c := w.dial()
	var all []byte
	all = append(all, rawFrame(ws.OpText, true, true, []byte(`{"jsonrpc":"2.0","id":0,"method":"connect","params":`+connectParams("u1", "s1", "d1", true)+`}`))...)
	for i := 1; i <= 5; i++ {
		all = append(all, rawFrame(ws.OpText, true, true, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"a.b"}`, i))...)
	}
	for len(all) > 0 { // in small pieces: frames are cut wherever the network cuts them
		n := min(7, len(all))
		c.raw(all[:n])
		all = all[n:]
	}
	for i := range 6 {
		if m := c.read(); string(m.ID) != fmt.Sprint(i) || m.Error != nil {
			t.Fatalf("answer %d = %s; want id %d", i, m.raw, i)
		}
	}
}

func TestNotReady(t *testing.T) {
	w := build(t, defaults(t), wsgateway.Deps{Mounted: true}, slog.DiscardHandler)
	srv := httptest.NewServer(w.gw.Handler())
	defer srv.Close()
	w.addr = srv.Listener.Addr().String()
	c, status, err := w.handshake(nil)
	if err != nil || status != http.StatusServiceUnavailable {
		t.Fatalf("handshake before Run = %d, %v; want 503", status, err)
	}
	_ = c.nc.Close()
	resp, err := http.Get(srv.URL) //nolint:noctx // a test
	if err != nil || resp.StatusCode != http.StatusUpgradeRequired {
		t.Fatalf("GET without an upgrade = %v, %v; want 426", resp, err)
	}
	_ = resp.Body.Close()
}
