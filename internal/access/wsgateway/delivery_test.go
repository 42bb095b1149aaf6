package wsgateway_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	wsgatewayv1 "github.com/oceanchat/oceanchat/gen/oceanchat/wsgateway/v1"
	"github.com/oceanchat/oceanchat/internal/access/wsgateway"
)

// WSGW-4: entries reach the connections named, each with its own count, and who is not here is said.
func TestDeliver(t *testing.T) {
	w := start(t)
	a, ida := w.connect("u1", true)
	b, idb := w.connect("u2", true)
	w.deliver(1, 2, idb)
	missed := w.deliver(3, 4, ida, "nobody", idb)
	if len(missed) != 2 || missed[1].GetItem() != 1 || len(missed[1].GetTo()) != 1 || missed[1].GetTo()[0].GetConnectionId() != "nobody" {
		t.Errorf("unreached = %v; want nobody, for both items", missed)
	}
	for i, seq := range []uint64{1, 2, 3, 4} {
		b.wantEntry(uint64(i+1), seq)
	}
	a.wantEntry(1, 3)
	a.wantEntry(2, 4)
	eventually(t, "presence is told of the connection that is not here", func() bool {
		_, byes := w.presence.said()
		return len(byes) == 2 && byes[0].GetConnectionId() == "nobody"
	})
}

func TestTell(t *testing.T) {
	w := start(t)
	a, ida := w.connect("u1", true)
	b, idb := w.connect("u2", true)
	tests := []struct {
		sig  *flowv1.Signal
		want string
	}{
		{
			&flowv1.Signal{Push: &flowv1.Signal_Typing{Typing: &wirev1.TypingPush{ConversationId: "d~u1~u2", UserId: "u1"}}},
			`{"jsonrpc":"2.0","method":"typing","params":{"conversationId":"d~u1~u2","userId":"u1"}}`,
		},
		{
			&flowv1.Signal{Push: &flowv1.Signal_Presence{Presence: &wirev1.PresencePush{UserId: "u1", Status: presencev1.Status_STATUS_ONLINE}}},
			`{"jsonrpc":"2.0","method":"presence","params":{"userId":"u1","status":"online","lastSeenAt":null}}`,
		},
		{
			&flowv1.Signal{Push: &flowv1.Signal_Receipt{Receipt: &wirev1.ReceiptPush{ConversationId: "d~u1~u2", UserId: "u1", ReadSeq: 3}}},
			`{"jsonrpc":"2.0","method":"receipt","params":{"conversationId":"d~u1~u2","userId":"u1","deliveredSeq":0,"readSeq":3}}`,
		},
		{
			&flowv1.Signal{Push: &flowv1.Signal_Resync{Resync: &wirev1.ResyncPush{Epoch: 2}}},
			`{"jsonrpc":"2.0","method":"resync","params":{"epoch":2}}`,
		},
	}
	for _, tt := range tests {
		tt.sig.ExceptConnectionId = ida
		if _, err := w.down.Tell(t.Context(), &wsgatewayv1.TellRequest{Signal: tt.sig, ConnectionIds: []string{ida, idb, "gone"}}); err != nil {
			t.Fatalf("Tell = %v; want nil", err)
		}
		if m := b.read(); m.raw != tt.want {
			t.Errorf("push = %s; want %s", m.raw, tt.want)
		}
	}
	if _, err := w.down.Tell(t.Context(), &wsgatewayv1.TellRequest{Signal: &flowv1.Signal{}, ConnectionIds: []string{idb}}); err != nil {
		t.Errorf("Tell of an unknown kind = %v; want nil", err)
	}
	a.request(1, "ping", `{}`)
	if m := a.read(); string(m.ID) != "1" {
		t.Errorf("the excepted connection got %s; want only its answer", m.raw)
	}
}

// No push before the answer to connect; what is committed after its sync token is pushed behind it.
func TestPushesWaitForConnect(t *testing.T) {
	w := start(t)
	syncing, goOn := make(chan string, 1), make(chan struct{})
	w.presence.onHello = func(c *presencev1.Connection) []*presencev1.Connection {
		syncing <- c.GetConnectionId()
		return nil
	}
	w.query.sync = func(ctx context.Context, _ *queryv1.SyncRequest) (*queryv1.SyncResponse, error) {
		select {
		case <-goOn:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return &queryv1.SyncResponse{SyncToken: "t"}, nil
	}
	c := w.dial()
	c.request(0, "connect", connectParams("u1", "s1", "d1", true))
	id := <-syncing
	if missed := w.deliver(1, 3, id); len(missed) != 0 {
		t.Errorf("unreached while connecting = %v; want none: the pushes are held", missed)
	}
	close(goOn)
	if m := c.read(); string(m.ID) != "0" || m.Error != nil {
		t.Fatalf("first frame = %s; want connect's answer", m.raw)
	}
	for n := uint64(1); n <= 3; n++ {
		c.wantEntry(n, n)
	}
}

// gauge returns a metric without labels: its value, or for a histogram its count.
func (w *world) gauge(name string) float64 {
	w.t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if m := f.GetMetric(); f.GetName() == name && len(m) == 1 {
			return m[0].GetGauge().GetValue() + float64(m[0].GetHistogram().GetSampleCount())
		}
	}
	w.t.Fatalf("no metric %s", name)
	return 0
}

// WSGW-5: a client that does not read is closed with 4005, and no other notices.
func TestSlowReader(t *testing.T) {
	w := start(t, func(c *wsgateway.Config) {
		c.QueueFrames, c.QueueBytes, c.CloseTimeout = 64, 1<<20, patience
	})
	slow, idSlow := w.connect("slow", true)
	quick, idQuick := w.connect("quick", true)
	eventually(t, "both connects are timed", func() bool { return w.gauge("oceanchat_ws_gateway_connect_seconds") == 2 })
	text := strings.Repeat("x", 32<<10)
	seq, most := uint64(0), 0.0
	for reached := true; reached; {
		seq++
		b, _ := proto.Marshal(&messagev1.Entry{ConversationId: "g~g1", Seq: seq, Body: &messagev1.Entry_Text{Text: &messagev1.Text{Text: text}}})
		resp, err := w.down.Deliver(t.Context(), &wsgatewayv1.DeliverRequest{Task: &flowv1.OnlineTask{Items: []*flowv1.OnlineItem{{
			Entry: b, To: []*presencev1.Connection{{ConnectionId: idSlow}, {ConnectionId: idQuick}},
		}}}})
		if err != nil {
			t.Fatalf("Deliver = %v; want nil", err)
		}
		quick.wantEntry(seq, seq)
		most = max(most, w.gauge("oceanchat_ws_gateway_output_queue_bytes"))
		reached = len(resp.GetUnreached()) == 0
		if seq > 10_000 {
			t.Fatal("10,000 entries of 32 KiB fitted into the slow connection; want an overflow")
		}
	}
	if most < 512<<10 {
		t.Errorf("at most %v bytes were said to wait; want about the queue's 1 MiB", most)
	}
	slow.wantClose(4005) // it reads again, and finds the reason behind what was on its way
	eventually(t, "what the slow one did not acknowledge is handed back", func() bool {
		return uint64(len(w.pusher.handedBack())) == seq-1
	})
	quick.request(1, "a.b", `{}`)
	if m := quick.read(); string(m.ID) != "1" {
		t.Errorf("the quick one got %s; want its answer", m.raw)
	}
}

// A slow client that still reads learns why.
func TestSlowReaderIsTold(t *testing.T) {
	w := start(t, func(c *wsgateway.Config) { c.QueueFrames = 8 })
	open := w.router.gate("slow.one")
	defer open()
	hold := make(chan struct{})
	ids := make(chan string, 1)
	w.presence.onHello = func(c *presencev1.Connection) []*presencev1.Connection { ids <- c.GetConnectionId(); return nil }
	w.query.sync = func(context.Context, *queryv1.SyncRequest) (*queryv1.SyncResponse, error) {
		<-hold
		return &queryv1.SyncResponse{}, nil
	}
	c := w.dial()
	c.request(0, "connect", connectParams("u1", "s1", "d1", true))
	if missed := w.deliver(1, 20, <-ids); len(missed) == 0 {
		t.Error("20 entries fitted into a queue of 8; want some unreached")
	}
	close(hold)
	c.wantClose(4005)
}

// What a device does not acknowledge is handed back, once, for that device.
func TestHandBack(t *testing.T) {
	w := start(t, func(c *wsgateway.Config) { c.AckWindow = 200 * time.Millisecond })
	c, id := w.connect("u1", true)
	w.deliver(1, 4, id)
	for n := uint64(1); n <= 4; n++ {
		c.wantEntry(n, n)
	}
	c.text(`{"jsonrpc":"2.0","method":"ack","params":{"n":2}}`)
	eventually(t, "3 and 4 are handed back", func() bool { return len(w.pusher.handedBack()) == 2 })
	w.deliver(5, 5, id)
	c.wantEntry(5, 5)
	_ = c.nc.Close() // 5 is handed back because of that, 3 and 4 not again
	eventually(t, "5 is handed back", func() bool { return len(w.pusher.handedBack()) == 3 })
	w.stop()
	items := w.pusher.handedBack()
	if len(items) != 3 {
		t.Fatalf("handed back %d entries; want 3", len(items))
	}
	for i, it := range items {
		if got := it.GetEntry().GetSeq(); got != uint64(i+3) || it.GetDeviceId() != "d-u1" || len(it.GetUserIds()) != 1 || it.GetUserIds()[0] != "u1" {
			t.Errorf("handed back %v; want seq %d for u1's device", it, i+3)
		}
	}
}

// A client that does not acknowledge by itself is pinged, and its pong acknowledges.
func TestPongAcknowledges(t *testing.T) {
	w := start(t, func(c *wsgateway.Config) { c.AckWindow = time.Second })
	c, id := w.connect("u1", false)
	w.deliver(1, 2, id)
	for pinged := false; !pinged; {
		f, err := c.next()
		if err != nil {
			t.Fatalf("read = %v; want a ping", err)
		}
		if f.op == ws.OpPing {
			c.raw(rawFrame(ws.OpPong, true, true, f.body))
			pinged = true
		}
	}
	c.request(1, "ping", `{}`)
	if m := c.read(); string(m.ID) != "1" {
		t.Fatalf("ping answered %s", m.raw)
	}
	_ = c.nc.Close()
	eventually(t, "goodbye", func() bool { _, byes := w.presence.said(); return len(byes) == 1 })
	w.stop()
	if items := w.pusher.handedBack(); len(items) != 0 {
		t.Errorf("handed back %v; want nothing: the pong acknowledged", items)
	}
}

// The same device connected again: the older connection is closed with 4003, here and at another gateway.
func TestDisplaced(t *testing.T) {
	w := start(t)
	a, ida := w.connect("u1", true)
	w.presence.mu.Lock()
	w.presence.onHello = func(*presencev1.Connection) []*presencev1.Connection {
		return []*presencev1.Connection{
			{GatewayId: string(w.gw.ID()), ConnectionId: ida}, {GatewayId: "g-dead", ConnectionId: "x"},
		}
	}
	w.presence.mu.Unlock()
	b, _ := w.connect("u1", true)
	a.wantClose(4003)
	b.request(1, "ping", `{}`)
	if m := b.read(); string(m.ID) != "1" {
		t.Errorf("the newer connection got %s; want its answer", m.raw)
	}
}

func TestDisconnect(t *testing.T) {
	w := start(t)
	c, id := w.connect("u1", true)
	if _, err := w.down.Disconnect(t.Context(), &wsgatewayv1.DisconnectRequest{ConnectionIds: []string{id}, Code: 1}); err == nil {
		t.Error("Disconnect with code 1 = nil; want an error")
	}
	req := &wsgatewayv1.DisconnectRequest{ConnectionIds: []string{id, "x"}, Code: 4003, Reason: "elsewhere"}
	if _, err := w.down.Disconnect(t.Context(), req); err != nil {
		t.Fatalf("Disconnect = %v; want nil", err)
	}
	if m := c.read(); m.raw != `{"jsonrpc":"2.0","method":"disconnect","params":{"code":4003,"reason":"elsewhere","reconnect":false,"retryAfterMs":0}}` {
		t.Errorf("push = %s; want disconnect 4003", m.raw)
	}
	if _, closed := c.closing(); closed != 4003 {
		t.Errorf("close frame %d; want 4003", closed)
	}
}

// When presence lost its state, connections register again, and each is told that it may have missed pushes; also when
// the answer that would have told it was lost.
func TestRegisterAgain(t *testing.T) {
	for name, mute := range map[string]bool{"told": false, "answer lost": true} {
		t.Run(name, func(t *testing.T) {
			w := start(t, func(c *wsgateway.Config) { c.RenewEvery = 20 * time.Millisecond })
			w.query.sync = func(context.Context, *queryv1.SyncRequest) (*queryv1.SyncResponse, error) {
				return &queryv1.SyncResponse{Epoch: 3}, nil
			}
			a, ida := w.connect("u1", true)
			_, idb := w.connect("u2", true)
			w.presence.mu.Lock()
			w.presence.hellos, w.presence.forgot, w.presence.mute = nil, true, mute
			w.presence.mu.Unlock()
			eventually(t, "both say hello again", func() bool {
				hellos, _ := w.presence.said()
				ids := map[string]bool{}
				for _, h := range hellos {
					ids[h.GetConnectionId()] = true
				}
				return ids[ida] && ids[idb]
			})
			if m, want := a.read(), `{"jsonrpc":"2.0","method":"resync","params":{"epoch":3}}`; m.raw != want {
				t.Errorf("push after registering again = %s; want %s", m.raw, want)
			}
		})
	}
}

// A connection whose hello was answered only after presence lost its state is among those that register again.
func TestRegisterAgainWhileConnecting(t *testing.T) {
	w := start(t, func(c *wsgateway.Config) { c.RenewEvery = 20 * time.Millisecond })
	late := make(chan chan struct{}, 1)
	w.presence.late = late
	c := w.dial()
	c.request(0, "connect", connectParams("u1", "s1", "d1", true))
	goOn := <-late
	w.presence.mu.Lock()
	w.presence.hellos, w.presence.forgot = nil, true
	w.presence.mu.Unlock()
	eventually(t, "presence is told of it again", func() bool {
		hellos, _ := w.presence.said()
		return len(hellos) == 1
	})
	close(goOn)
	if m := c.read(); string(m.ID) != "0" || m.Error != nil {
		t.Errorf("first frame = %s; want connect's answer", m.raw)
	}
}

// On stop: requests under way are answered, then 4006; new connections are refused; nothing of the service stays.
func TestDrain(t *testing.T) {
	w := start(t)
	open := w.router.gate("slow.one")
	busy, _ := w.connect("busy", true)
	idle, _ := w.connect("idle", true)
	fresh := w.dial()
	busy.request(5, "slow.one", `{}`)
	busy.request(6, "slow.one", `{}`)
	eventually(t, "the request is at work", func() bool { return len(w.router.requests()) == 1 })
	stopped := make(chan struct{})
	go func() { w.stop(); close(stopped) }()
	if m := idle.read(); m.Method != "disconnect" || !strings.Contains(m.raw, `"code":4006`) || !strings.Contains(m.raw, `"reconnect":true,"retryAfterMs":1000`) {
		t.Errorf("idle connection got %s; want disconnect 4006 with advice", m.raw)
	}
	if _, closed := idle.closing(); closed != 4006 {
		t.Errorf("idle connection closed with %d; want 4006", closed)
	}
	if _, closed := fresh.closing(); closed != 4006 {
		t.Errorf("fresh connection closed with %d; want 4006", closed)
	}
	open()
	for _, id := range []string{"5", "6"} {
		if m := busy.read(); string(m.ID) != id {
			t.Errorf("busy connection got %s; want the answer to %s", m.raw, id)
		}
	}
	busy.wantClose(4006)
	<-stopped
}

// A handshake that ends only when all others are told to go is told too.
func TestDrainLateHandshake(t *testing.T) {
	entered, goOn := make(chan struct{}), make(chan struct{})
	w := build(t, defaults(t), wsgateway.Deps{Mounted: true, ClientIP: func(r *http.Request) netip.Addr {
		if r.Header.Get("Origin") != "" {
			close(entered)
			<-goOn
		}
		return netip.IPv4Unspecified()
	}}, slog.DiscardHandler)
	srv := httptest.NewServer(w.gw.Handler())
	t.Cleanup(srv.Close)
	w.addr = srv.Listener.Addr().String()
	w.run()
	c, status, err := w.handshake(http.Header{"Origin": {srv.URL}})
	if err != nil || status != http.StatusSwitchingProtocols {
		t.Fatalf("handshake = %d, %v; want 101", status, err)
	}
	<-entered
	stopped := make(chan struct{})
	go func() { w.stop(); close(stopped) }()
	eventually(t, "the doors are closed", func() bool {
		_, status, err := w.handshake(nil)
		return err == nil && status == http.StatusServiceUnavailable
	})
	close(goOn)
	c.wantClose(4006)
	<-stopped
}

// The binary door carries the same through the same code.
func TestProtoDoor(t *testing.T) {
	w := start(t)
	c := w.dial("oceanchat.proto")
	ask := func(id uint32, method string, params proto.Message) *wirev1.ServerFrame {
		t.Helper()
		p, _ := proto.Marshal(params)
		b, _ := proto.Marshal(&wirev1.ClientFrame{Id: &id, Method: method, Params: p})
		c.raw(rawFrame(ws.OpBinary, true, true, b))
		return readFrame(t, c)
	}
	f := ask(1, "connect", &wirev1.ConnectRequest{Token: "u1:s1:d1", DeviceId: "d1", Platform: 1, Acks: true})
	var resp wirev1.ConnectResponse
	if err := proto.Unmarshal(f.GetReply().GetResult(), &resp); err != nil || resp.GetUserId() != "u1" {
		t.Fatalf("connect answered %v; want a result", f)
	}
	w.deliver(1, 1, resp.GetConnectionId())
	var e wirev1.EntryPush
	if p := readFrame(t, c).GetPush(); proto.Unmarshal(p.GetParams(), &e) != nil || p.GetMethod() != "entry" || e.GetN() != 1 || e.GetEntry().GetSeq() != 1 {
		t.Errorf("push = %v; want entry 1", p)
	}
	if f := ask(2, "ping", &wirev1.PingRequest{}); f.GetReply().GetId() != 2 || f.GetReply().GetError() != nil {
		t.Errorf("ping answered %v; want an empty result", f)
	}
	c.raw(rawFrame(ws.OpText, true, true, []byte("{}")))
	if _, closed := c.closing(); closed != 4004 {
		t.Errorf("text on the binary door closed with %d; want 4004", closed)
	}
}

func readFrame(t *testing.T, c *client) *wirev1.ServerFrame {
	t.Helper()
	f, err := c.next()
	if err != nil || f.op != ws.OpBinary {
		t.Fatalf("next = %v, %v; want a binary frame", f, err)
	}
	m := &wirev1.ServerFrame{}
	if err := proto.Unmarshal(f.body, m); err != nil {
		t.Fatalf("server sent %x: %v", f.body, err)
	}
	return m
}

// A crowd gets every entry, each in order.
func TestFanOut(t *testing.T) {
	w := start(t)
	const people, entries = 50, 200
	var list []*client
	var ids []string
	for i := range people {
		c, id := w.connect(fmt.Sprintf("u%d", i), true)
		list, ids = append(list, c), append(ids, id)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for seq := uint64(1); seq <= entries; seq += 10 {
			_, _ = w.down.Deliver(context.Background(), w.entryTask(seq, seq+9, ids...))
		}
	}()
	for _, c := range list {
		for n := uint64(1); n <= entries; n++ {
			c.wantEntry(n, n)
		}
		c.text(fmt.Sprintf(`{"jsonrpc":"2.0","method":"ack","params":{"n":%d}}`, entries))
	}
	<-done
}
