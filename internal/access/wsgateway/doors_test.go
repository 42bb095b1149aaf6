package wsgateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/access/wsgateway"
	"github.com/oceanchat/oceanchat/internal/config"
)

// WSGW-1: over TLS, where reads and writes block, everything works the same.
func TestTLS(t *testing.T) {
	w := build(t, defaults(t), wsgateway.Deps{Mounted: true}, slog.DiscardHandler)
	srv := httptest.NewTLSServer(w.gw.Handler())
	w.addr = srv.Listener.Addr().String()
	w.dialer = func() (net.Conn, error) {
		return tls.Dial("tcp", w.addr, &tls.Config{InsecureSkipVerify: true})
	}
	w.run()
	t.Cleanup(srv.Close)
	t.Cleanup(w.stop)
	c, id := w.connect("u1", true)
	go func() { w.deliver(1, 500, id) }()
	for n := uint64(1); n <= 500; n++ {
		c.wantEntry(n, n)
	}
	c.request(1, "a.b", `{"x":1}`)
	if m := c.read(); string(m.Result) != `{"x":1}` {
		t.Errorf("request answered %s; want its params", m.raw)
	}
	c.text("nonsense")
	_ = c.read()
	other, _ := w.connect("u2", true)
	other.raw(rawFrame(2, true, true, nil))
	other.wantClose(4004)
	go w.stop()
	c.wantClose(4006)
}

// listening catches the addresses of the gateway's own listeners from its log.
type listening struct{ addrs chan string }

func (l listening) Enabled(context.Context, slog.Level) bool { return true }
func (l listening) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l listening) WithGroup(string) slog.Handler            { return l }

func (l listening) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if r.Message == "listening" && a.Key == "addr" {
			l.addrs <- a.Value.String()
		}
		return true
	})
	return nil
}

// WSGW-1: the gateway's own ports: /ws and raw TCP.
func TestOwnListeners(t *testing.T) {
	cfg := defaults(t)
	cfg.Addr, cfg.Heartbeat = "127.0.0.1:0", 300*time.Millisecond
	l := listening{make(chan string, 2)}
	w := build(t, cfg, wsgateway.Deps{TCPAddr: "127.0.0.1:0"}, l)
	w.run()
	t.Cleanup(w.stop)
	w.addr = <-l.addrs
	tcpAddr := <-l.addrs

	c, _ := w.connect("u1", true)
	_ = c.nc.Close()

	nc, err := net.Dial("tcp", tcpAddr)
	if err != nil {
		t.Fatalf("dial = %v; want nil", err)
	}
	defer func() { _ = nc.Close() }()
	r := bufio.NewReader(nc)
	ask := func(id *uint32, method string, params proto.Message) {
		p, _ := proto.Marshal(params)
		b, _ := proto.Marshal(&wirev1.ClientFrame{Id: id, Method: method, Params: p})
		_, _ = nc.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...))
	}
	one := uint32(1)
	ask(&one, "connect", &wirev1.ConnectRequest{Token: "u2:s2:d2", DeviceId: "d2", Platform: 1})
	var resp wirev1.ConnectResponse
	if f := readTCP(t, nc, r); proto.Unmarshal(f.GetReply().GetResult(), &resp) != nil || resp.GetUserId() != "u2" {
		t.Fatalf("connect answered %v; want a result", f)
	}
	w.deliver(1, 1, resp.GetConnectionId())
	if f := readTCP(t, nc, r); f.GetPush().GetMethod() != "entry" {
		t.Errorf("push = %v; want an entry", f)
	}
	for range 4 { // longer than two heartbeats
		if f := readTCP(t, nc, r); f.GetPush().GetMethod() != "ping" {
			t.Fatalf("push = %v; want a ping", f)
		}
		ask(nil, "pong", &wirev1.PingResponse{})
	}
	go w.stop()
	var bye wirev1.DisconnectPush
	f := readTCP(t, nc, r)
	for f.GetPush().GetMethod() == "ping" {
		f = readTCP(t, nc, r)
	}
	if proto.Unmarshal(f.GetPush().GetParams(), &bye) != nil || bye.GetCode() != 4006 {
		t.Errorf("last push = %v; want disconnect 4006", f)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after disconnect: %v; want EOF", err)
	}
	_ = nc.Close()
	w.stop()
	if items := w.pusher.handedBack(); len(items) != 0 {
		t.Errorf("handed back %v; want nothing: the pong acknowledged", items)
	}
}

func readTCP(t *testing.T, nc net.Conn, r *bufio.Reader) *wirev1.ServerFrame {
	t.Helper()
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	n, err := binary.ReadUvarint(r)
	if err != nil {
		t.Fatalf("read = %v; want a frame", err)
	}
	b := make([]byte, n)
	f := &wirev1.ServerFrame{}
	if _, err := io.ReadFull(r, b); err != nil || proto.Unmarshal(b, f) != nil {
		t.Fatalf("read %x, %v; want a frame", b, err)
	}
	return f
}

// On the gateway's own port a client that asks for nothing, or never ends what it asks, is let go of.
func TestOwnListenerIdle(t *testing.T) {
	t.Parallel()
	cfg := defaults(t)
	cfg.Addr = "127.0.0.1:0"
	l := listening{make(chan string, 1)}
	w := build(t, cfg, wsgateway.Deps{}, l)
	w.run()
	t.Cleanup(w.stop)
	addr := <-l.addrs
	for name, request := range map[string]string{
		"keeps the connection": "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
		"never sends its body": "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = nc.Close() }()
			_ = nc.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.WriteString(nc, request); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, nc); err != nil {
				t.Errorf("waiting for the end: %v; want the server to close", err)
			}
		})
	}
}

func TestPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	cfg := defaults(t)
	cfg.Addr = ln.Addr().String()
	w := build(t, cfg, wsgateway.Deps{}, slog.DiscardHandler)
	if err := w.gw.Run(t.Context(), func() { t.Error("ready was called; want an error first") }); err == nil {
		t.Error("Run on a taken port = nil; want an error")
	}
}

func TestConfigBounds(t *testing.T) {
	cfg := defaults(t)
	if cfg.Heartbeat != 30*time.Second || cfg.MaxFrame != 64<<10 || cfg.MaxFrameNew != 4<<10 || cfg.InFlight != 64 ||
		cfg.AuthTimeout != 5*time.Second || cfg.AckWindow != 10*time.Second || cfg.Unauthenticated != 50 || cfg.Addr != ":8081" {
		t.Errorf("defaults = %+v; want the public contract's limits", cfg)
	}
	cfg.InFlight = 0
	if err := config.Validate(&cfg); err == nil {
		t.Error("Validate(in_flight 0) = nil; want an error")
	}
}
