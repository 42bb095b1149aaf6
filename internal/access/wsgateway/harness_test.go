package wsgateway_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	pusherrealtimev1 "github.com/oceanchat/oceanchat/gen/oceanchat/pusherrealtime/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	routerv1 "github.com/oceanchat/oceanchat/gen/oceanchat/router/v1"
	wsgatewayv1 "github.com/oceanchat/oceanchat/gen/oceanchat/wsgateway/v1"
	"github.com/oceanchat/oceanchat/internal/access/wsgateway"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, backbonetest.ServerLeaks()...) }

// patience is how long anything may take that must happen; timing never decides a test.
const patience = 20 * time.Second

// world is a gateway with everything around it.
type world struct {
	t        testing.TB
	gw       *wsgateway.Service
	reg      *prometheus.Registry
	down     wsgatewayv1.GatewayServiceClient
	addr     string
	router   *router
	presence *presence
	query    *query
	auth     *auth
	pusher   *pusher
	signals  *signals
	sessions *allowList
	stop     func()
	dialer   func() (net.Conn, error)
}

func defaults(t testing.TB) wsgateway.Config {
	t.Helper()
	var cfg wsgateway.Config
	if _, err := config.Load(&cfg, config.Sources{}); err != nil {
		t.Fatalf("config.Load(defaults) = %v; want nil", err)
	}
	cfg.DrainSpread = 50 * time.Millisecond
	return cfg
}

// start runs a gateway behind an HTTP server, with the default settings as changed by tune.
func start(t testing.TB, tune ...func(*wsgateway.Config)) *world {
	t.Helper()
	return startJourney(t, nil, tune...)
}

// startJourney is start with a recorder of journeys.
func startJourney(t testing.TB, rec *journey.Recorder, tune ...func(*wsgateway.Config)) *world {
	t.Helper()
	cfg := defaults(t)
	for _, f := range tune {
		f(&cfg)
	}
	w := build(t, cfg, wsgateway.Deps{Mounted: true, Journey: rec}, slog.DiscardHandler)
	srv := httptest.NewServer(w.gw.Handler())
	w.addr = srv.Listener.Addr().String()
	w.run()
	t.Cleanup(srv.Close)
	t.Cleanup(w.stop)
	return w
}

// build returns a gateway that does not run yet; deps holds what is not the same for all tests.
func build(t testing.TB, cfg wsgateway.Config, deps wsgateway.Deps, h slog.Handler) *world {
	log := slog.New(h)
	net := inproc.New(log)
	w := &world{
		t: t, router: &router{gates: map[string]chan struct{}{}}, presence: &presence{}, query: &query{},
		auth: &auth{over: map[string]bool{}, asked: map[string]int{}}, pusher: &pusher{}, signals: &signals{subs: map[string]func(string, []byte){}},
		sessions: &allowList{states: map[chat.SessionID]faststate.SessionState{}},
	}
	routerv1.RegisterRouterServiceServer(net, w.router)
	presencev1.RegisterPresenceInternalServiceServer(net, w.presence)
	queryv1.RegisterQueryServiceServer(net, w.query)
	authv1.RegisterAuthInternalServiceServer(net, w.auth)
	pusherrealtimev1.RegisterPusherRealtimeServiceServer(net, w.pusher)
	deps.Net, deps.Host, deps.Signals, deps.Sessions, deps.Verifier = net, net, w.signals, w.sessions, verifier{}
	w.reg = prometheus.NewRegistry()
	w.gw = wsgateway.New(cfg, deps, log, w.reg)
	w.down = wsgatewayv1.NewGatewayServiceClient(net.Gateway(w.gw.ID()))
	w.dialer = w.dialTCP
	return w
}

func (w *world) dialTCP() (net.Conn, error) { return net.Dial("tcp", w.addr) }

// run starts the gateway; w.stop ends it.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- w.gw.Run(ctx, func() { close(ready) }) }()
	<-ready
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run = %v; want nil", err)
		}
	})
}

// client is a WebSocket client that may do everything wrong.
type client struct {
	t     testing.TB
	nc    net.Conn
	r     *bufio.Reader
	proto string // of the answer to the handshake
}

// frame is what a server sends.
type frame struct {
	op   ws.OpCode
	body []byte
}

func (w *world) handshake(header http.Header) (*client, int, error) {
	nc, err := w.dialer()
	if err != nil {
		return nil, 0, err
	}
	w.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	req, _ := http.NewRequest(http.MethodGet, "http://"+w.addr+"/ws", nil)
	req.Header = header
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("Sec-WebSocket-Version", "13")
	req.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	if err := req.Write(nc); err != nil {
		return nil, 0, err
	}
	r := bufio.NewReader(nc)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, 0, err
	}
	_ = resp.Body.Close() // of an upgrade it is empty
	return &client{t: w.t, nc: nc, r: r, proto: resp.Header.Get("Sec-WebSocket-Protocol")}, resp.StatusCode, nil
}

// dial returns a client after the handshake.
func (w *world) dial(protocols ...string) *client {
	w.t.Helper()
	h := http.Header{}
	if len(protocols) > 0 {
		h.Set("Sec-WebSocket-Protocol", strings.Join(protocols, ", "))
	}
	c, status, err := w.handshake(h)
	if err != nil || status != http.StatusSwitchingProtocols {
		w.t.Fatalf("handshake = %d, %v; want 101", status, err)
	}
	return c
}

// rawFrame returns the bytes of a client's frame.
func rawFrame(op ws.OpCode, fin, masked bool, body []byte) []byte {
	f := ws.NewFrame(op, fin, append([]byte(nil), body...))
	if masked {
		f = ws.MaskFrame(f)
	}
	return ws.MustCompileFrame(f)
}

// raw sends bytes as they are. A server that closed already is no error here: reading tells.
func (c *client) raw(b []byte) { _, _ = c.nc.Write(b) }

func (c *client) text(s string) { c.raw(rawFrame(ws.OpText, true, true, []byte(s))) }

func (c *client) request(id int, method, params string) {
	c.text(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, id, method, params))
}

// next returns the next frame of the server; io.EOF when there is none.
func (c *client) next() (frame, error) {
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	h, err := ws.ReadHeader(c.r)
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		return frame{}, err
	}
	body := make([]byte, h.Length)
	_, err = io.ReadFull(c.r, body)
	return frame{h.OpCode, body}, err
}

// message is what a JSON frame may be.
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code int
		Data struct {
			Reason       string
			RetryAfterMs int
		}
	} `json:"error"`
	raw string
}

// read returns the next text frame; it answers no pings.
func (c *client) read() message {
	c.t.Helper()
	for {
		f, err := c.next()
		if err != nil {
			c.t.Fatalf("read = %v; want a message", err)
		}
		if f.op != ws.OpText {
			continue
		}
		m := message{raw: string(f.body)}
		if err := json.Unmarshal(f.body, &m); err != nil {
			c.t.Fatalf("server sent %q: %v", f.body, err)
		}
		return m
	}
}

// closing reads until the server closes and returns the codes of the push and of the close frame; 0 for none.
func (c *client) closing() (push, closed int) {
	c.t.Helper()
	for {
		f, err := c.next()
		switch {
		case err != nil && closed != 0: // perhaps a reset: the server is not there any more for our answer
			return push, closed
		case err != nil && !errors.Is(err, io.EOF):
			c.t.Fatalf("waiting for the close: %v", err)
		case err != nil:
			return push, closed
		case f.op == ws.OpClose && len(f.body) >= 2:
			closed = int(binary.BigEndian.Uint16(f.body))
			c.raw(rawFrame(ws.OpClose, true, true, f.body[:2]))
		case f.op == ws.OpText:
			var m struct {
				Method string
				Params struct{ Code int }
			}
			if json.Unmarshal(f.body, &m) == nil && m.Method == "disconnect" {
				push = m.Params.Code
			}
		}
	}
}

// wantClose fails the test unless the server closes with code, by push and by frame.
func (c *client) wantClose(code int) {
	c.t.Helper()
	if push, closed := c.closing(); push != code || closed != code {
		c.t.Errorf("closed with push %d, frame %d; want %d", push, closed, code)
	}
}

func connectParams(user, session, device string, acks bool) string {
	return fmt.Sprintf(`{"token":"%s:%s:%s","deviceId":%q,"platform":"web","syncToken":"","acks":%v}`, user, session, device, device, acks)
}

// connect dials and connects as user, whose session and device are named after it, and returns the answer's id too.
func (w *world) connect(user string, acks bool) (*client, string) {
	w.t.Helper()
	c := w.dial()
	return c, c.connect(user, acks)
}

func (c *client) connect(user string, acks bool) string {
	c.t.Helper()
	c.request(0, "connect", connectParams(user, "s-"+user, "d-"+user, acks))
	m := c.read()
	var res struct{ ConnectionID, UserID string }
	if err := json.Unmarshal(m.Result, &res); err != nil || res.ConnectionID == "" || res.UserID != user {
		c.t.Fatalf("connect answered %s; want a result for %s", m.raw, user)
	}
	return res.ConnectionID
}

// entryTask is a task with one text entry per seq, all for the same connections.
func (w *world) entryTask(from, to uint64, conns ...string) *wsgatewayv1.DeliverRequest {
	task := &flowv1.OnlineTask{GatewayId: string(w.gw.ID())}
	for seq := from; seq <= to; seq++ {
		b, _ := proto.Marshal(&messagev1.Entry{ConversationId: "g~g1", Seq: seq, SenderId: "u9"})
		item := &flowv1.OnlineItem{Entry: b}
		for _, id := range conns {
			item.To = append(item.To, &presencev1.Connection{ConnectionId: id, GatewayId: string(w.gw.ID())})
		}
		task.Items = append(task.Items, item)
	}
	return &wsgatewayv1.DeliverRequest{Task: task}
}

// deliver pushes entries and returns who was not reached.
func (w *world) deliver(from, to uint64, conns ...string) []*wsgatewayv1.Unreached {
	w.t.Helper()
	resp, err := w.down.Deliver(context.Background(), w.entryTask(from, to, conns...))
	if err != nil {
		w.t.Fatalf("Deliver = %v; want nil", err)
	}
	return resp.GetUnreached()
}

// wantEntry reads an entry push and checks its number and seq.
func (c *client) wantEntry(n, seq uint64) {
	c.t.Helper()
	m := c.read()
	want := fmt.Sprintf(`{"jsonrpc":"2.0","method":"entry","params":{"n":%d,"entry":{"conversationId":"g~g1","seq":%d,`, n, seq)
	if !strings.HasPrefix(m.raw, want) {
		c.t.Fatalf("push = %.160s; want %s…", m.raw, want)
	}
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}
