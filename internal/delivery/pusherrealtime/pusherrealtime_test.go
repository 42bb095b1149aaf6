package pusherrealtime_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	pusherrealtimev1 "github.com/oceanchat/oceanchat/gen/oceanchat/pusherrealtime/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	wsgatewayv1 "github.com/oceanchat/oceanchat/gen/oceanchat/wsgateway/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/delivery/pusherrealtime"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, backbonetest.ServerLeaks()...) }

// world is presence, the backbone and what was seen of them.
type world struct {
	presencev1.UnimplementedPresenceInternalServiceServer
	net     *inproc.Network
	journey *journey.Recorder

	mu       sync.Mutex                 // guards what follows
	online   map[string][]string        // user: "gateway/connection"
	lookups  int                        // that still fail
	tasks    []*flowv1.OnlineTask       // to be consumed
	verdicts map[string]backbone.Action // of the tasks that are finished
	offline  []*flowv1.OfflineTask
	broken   int // publishes that still fail
	signal   func(string, []byte)
	seen     []string // what gateways got: "gateway task connection" or "gateway tell connection"
}

func newWorld() *world {
	w := &world{
		net: inproc.New(slog.New(slog.DiscardHandler)), online: map[string][]string{}, verdicts: map[string]backbone.Action{},
		journey: journey.New(journey.Config{Events: 1 << 20}, "p"),
	}
	presencev1.RegisterPresenceInternalServiceServer(w.net, w)
	return w
}

func (w *world) Lookup(_ context.Context, r *presencev1.LookupRequest) (*presencev1.LookupResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lookups > 0 {
		w.lookups--
		return nil, fault.New(fault.Overloaded, "presence is broken")
	}
	a := &presencev1.LookupResponse{}
	for _, u := range r.GetUserIds() {
		for _, at := range w.online[u] {
			a.Connections = append(a.Connections, connection(u, at))
		}
	}
	return a, nil
}

func (w *world) set(user string, at ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.online[user] = at
}

func connection(user, at string) *presencev1.Connection {
	gw, id, _ := strings.Cut(at, "/")
	return &presencev1.Connection{UserId: user, DeviceId: "d-" + id, GatewayId: gw, ConnectionId: id}
}

// gateway is one instance of ws-gateway.
type gateway struct {
	wsgatewayv1.UnimplementedGatewayServiceServer
	w       *world
	id      string
	has     []string      // connections
	deliver func() error  // before anything else; nil: no trouble
	tell    chan struct{} // Tell waits for it; nil: no trouble
}

func (w *world) serve(g *gateway) {
	g.w = w
	w.net.ServeGateway(chat.GatewayID(g.id), func(r grpc.ServiceRegistrar) { wsgatewayv1.RegisterGatewayServiceServer(r, g) })
}

func (g *gateway) Deliver(_ context.Context, r *wsgatewayv1.DeliverRequest) (*wsgatewayv1.DeliverResponse, error) {
	if g.deliver != nil {
		if err := g.deliver(); err != nil {
			return nil, err
		}
	}
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	a := &wsgatewayv1.DeliverResponse{}
	for i, item := range r.GetTask().GetItems() {
		u := &wsgatewayv1.Unreached{Item: uint32(i)}
		for _, c := range item.GetTo() {
			if slices.Contains(g.has, c.GetConnectionId()) {
				g.w.seen = append(g.w.seen, g.id+" "+r.GetTask().GetId()+" "+c.GetConnectionId())
			} else {
				u.To = append(u.To, c)
			}
		}
		if len(u.To) > 0 {
			a.Unreached = append(a.Unreached, u)
		}
	}
	return a, nil
}

func (g *gateway) Tell(_ context.Context, r *wsgatewayv1.TellRequest) (*wsgatewayv1.TellResponse, error) {
	if g.tell != nil {
		<-g.tell
	}
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	for _, id := range r.GetConnectionIds() {
		g.w.seen = append(g.w.seen, g.id+" tell "+id)
	}
	return &wsgatewayv1.TellResponse{}, nil
}

// The backbone: one queue to read, one to write.

func (w *world) Queue(_ context.Context, name backbone.QueueName) (backbone.Queue, error) {
	return queue{w, name}, nil
}

func (w *world) Subscribe(_, _ string, fn func(string, []byte)) (func(), error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.signal = fn
	return func() {}, nil
}

type queue struct {
	w    *world
	name backbone.QueueName
}

func (q queue) Publish(_ context.Context, topic, id string, data []byte) error {
	q.w.mu.Lock()
	defer q.w.mu.Unlock()
	if q.w.broken > 0 {
		q.w.broken--
		return errors.New("no answer")
	}
	task := &flowv1.OfflineTask{}
	if q.name != backbone.PushOffline || topic != "task" || id == "" || proto.Unmarshal(data, task) != nil {
		return fmt.Errorf("publish to %s %s %q: %w", q.name, topic, id, backbone.ErrRefused)
	}
	q.w.offline = append(q.w.offline, task)
	return nil
}

// Consume works on each task until it is done or parked, several at a time.
func (q queue) Consume(ctx context.Context, c backbone.Consumer) error {
	var g errgroup.Group
	for _, t := range q.w.tasks {
		data, _ := proto.Marshal(t)
		g.Go(func() error {
			for try := 1; ctx.Err() == nil; try++ {
				v := backbone.Judge(ctx, c, backbone.Task{Topic: t.GetGatewayId(), ID: t.GetId(), Data: data, Tries: try})
				if v.Act != backbone.ActRetry {
					q.w.mu.Lock()
					q.w.verdicts[t.GetId()] = v.Act
					q.w.mu.Unlock()
					break
				}
				<-time.After(min(v.After, 5*time.Millisecond)) // with doubling it would take minutes
			}
			return nil
		})
	}
	err := g.Wait()
	<-ctx.Done()
	return err
}

func text(seq uint64, sender string) *messagev1.Entry {
	return &messagev1.Entry{
		ConversationId: "g~g", Seq: seq, Ordinal: seq, SenderId: sender, Kind: messagev1.EntryKind_ENTRY_KIND_TEXT,
		Body: &messagev1.Entry_Text{Text: &messagev1.Text{Text: "hello"}},
	}
}

func task(t *testing.T, id, gateway string, e *messagev1.Entry, to ...*presencev1.Connection) *flowv1.OnlineTask {
	t.Helper()
	data, err := proto.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return &flowv1.OnlineTask{Schema: 1, Id: id, GatewayId: gateway, Items: []*flowv1.OnlineItem{{Entry: data, To: to}}}
}

// start runs a service on w until the test ends.
func start(t *testing.T, w *world) *pusherrealtime.Service {
	t.Helper()
	cfg := pusherrealtime.Config{
		InFlight: 4, CallTimeout: 200 * time.Millisecond, PublishTimeout: time.Second, RetryDelay: time.Millisecond,
		Signals: 64, SignalWorkers: 2,
	}
	s := pusherrealtime.New(cfg, pusherrealtime.Deps{Backbone: w, Network: w.net, Journey: w.journey}, slog.New(slog.DiscardHandler), prometheus.NewPedanticRegistry())
	s.Register(w.net)
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	ready := make(chan struct{})
	g.Go(func() error { return s.Run(ctx, func() { close(ready) }) })
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Errorf("Run = %v; want nil", err)
		}
	})
	<-ready
	return s
}

func (w *world) done(ids ...string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if w.verdicts[id] != backbone.ActDone {
			return false
		}
	}
	return true
}

// missed returns the offline pushes: "seq>user" or "seq>user@device".
func (w *world) missed() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := []string{}
	for _, task := range w.offline {
		for _, i := range task.GetItems() {
			for _, u := range i.GetUserIds() {
				s := fmt.Sprintf("%d>%s", i.GetEntry().GetSeq(), u)
				if i.GetDeviceId() != "" {
					s += "@" + i.GetDeviceId()
				}
				out = append(out, s)
			}
		}
	}
	slices.Sort(out)
	return out
}

func (w *world) got() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := slices.Clone(w.seen)
	slices.Sort(out)
	return out
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("not in 20 s: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// RT-1, RT-2: a task goes to its gateway; whom that did not reach gets an offline push, unless it is on line elsewhere.
func TestDeliver(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.serve(&gateway{id: "gw1", has: []string{"a1", "b1"}})
	w.online = map[string][]string{"ann": {"gw1/a1"}, "bob": {"gw1/b1", "gw1/b2"}, "cid": {"gw1/c1"}, "dan": {"gw1/d1", "gw2/d1"}, "eve": {"gw1/e1"}}
	to := []*presencev1.Connection{
		connection("ann", "gw1/a1"), connection("bob", "gw1/b1"), connection("bob", "gw1/b2"), // b2 missed, b1 reached
		connection("cid", "gw1/c1"), connection("dan", "gw1/d1"), // dan is on line at another gateway
		connection("eve", "gw1/e1"), // the sender
		connection("fay", "gw1/f1"), // gone from presence, too
	}
	hidden := &messagev1.Entry{ConversationId: "d~a~b", Seq: 8, Kind: messagev1.EntryKind_ENTRY_KIND_HIDDEN}
	w.tasks = []*flowv1.OnlineTask{task(t, "t1", "gw1", text(7, "eve"), to...), task(t, "t2", "gw1", hidden, connection("cid", "gw1/c1"))}
	start(t, w)
	eventually(t, "both tasks done", func() bool { return w.done("t1", "t2") })
	if diff := cmp.Diff([]string{"gw1 t1 a1", "gw1 t1 b1"}, w.got()); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"7>cid", "7>fay"}, w.missed()); diff != "" {
		t.Errorf("offline pushes (-want +got):\n%s", diff)
	}
}

// A gateway that does not answer is asked again while presence lists it.
func TestSilentGatewayIsAskedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld()
	calls := 0
	w.serve(&gateway{id: "gw1", has: []string{"a1"}, deliver: func() error {
		if calls++; calls <= 5 {
			return fault.New(fault.Overloaded, "not now")
		}
		return nil
	}})
	w.set("ann", "gw1/a1")
	w.lookups = 2 // presence fails, too: no reason to give up
	w.tasks = []*flowv1.OnlineTask{task(t, "t1", "gw1", text(1, "bob"), connection("ann", "gw1/a1"))}
	start(t, w)
	eventually(t, "the task done", func() bool { return w.done("t1") })
	if diff := cmp.Diff([]string{"gw1 t1 a1"}, w.got()); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	if got := w.missed(); len(got) > 0 {
		t.Errorf("offline pushes = %v; want none", got)
	}
}

// When the lease of a dead gateway is over its users are gone, and only then.
func TestDeadGateway(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.set("ann", "gw9/a1")
	w.set("bob", "gw9/b1", "gw1/b2")
	w.tasks = []*flowv1.OnlineTask{
		task(t, "t1", "gw9", text(1, "x"), connection("ann", "gw9/a1"), connection("bob", "gw9/b1")),
	}
	start(t, w)
	if w.done("t1") || len(w.missed()) > 0 {
		t.Errorf("a listed gateway's users count as gone")
	}
	w.set("ann")
	w.set("bob", "gw1/b2")
	eventually(t, "the task done", func() bool { return w.done("t1") })
	if diff := cmp.Diff([]string{"1>ann"}, w.missed()); diff != "" {
		t.Errorf("offline pushes (-want +got):\n%s", diff)
	}
}

// Invariant 7: a gateway that hangs leaves room for the tasks of others, and even it gets an end.
func TestHangingGatewayHurtsNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld()
	hang := make(chan struct{})
	w.serve(&gateway{id: "gw1", deliver: func() error { <-hang; return errors.New("too late") }})
	w.serve(&gateway{id: "gw2", has: []string{"b1"}})
	w.set("ann", "gw1/a1")
	w.set("bob", "gw2/b1")
	for i := range 8 {
		w.tasks = append(w.tasks, task(t, fmt.Sprint("h", i), "gw1", text(1, "x"), connection("ann", "gw1/a1")))
	}
	w.tasks = append(w.tasks, task(t, "t2", "gw2", text(1, "x"), connection("bob", "gw2/b1")))
	start(t, w)
	eventually(t, "the other gateway's task done", func() bool { return w.done("t2") })
	close(hang)
	eventually(t, "an offline push in the end", func() bool { return w.done("h0", "h1", "h2", "h3", "h4", "h5", "h6", "h7") && len(w.missed()) == 8 })
}

// The storing of the offline task is awaited and repeated; the gateway gets the task once.
func TestOfflineTaskIsAwaited(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.serve(&gateway{id: "gw1", has: []string{"b1"}})
	w.broken, w.lookups = 2, 1
	w.tasks = []*flowv1.OnlineTask{task(t, "t1", "gw1", text(1, "x"), connection("ann", "gw1/a1"), connection("bob", "gw1/b1"))}
	start(t, w)
	eventually(t, "the task done", func() bool { return w.done("t1") })
	if diff := cmp.Diff([]string{"1>ann"}, w.missed()); diff != "" {
		t.Errorf("offline pushes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"gw1 t1 b1"}, w.got()); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
}

func TestHandBack(t *testing.T) {
	t.Parallel()
	w := newWorld()
	start(t, w)
	c := pusherrealtimev1.NewPusherRealtimeServiceClient(w.net)
	req := &pusherrealtimev1.HandBackRequest{Items: []*flowv1.OfflineItem{
		{Entry: text(1, "bob"), UserIds: []string{"ann"}, DeviceId: "d1"},
		{Entry: text(2, "ann"), UserIds: []string{"ann"}, DeviceId: "d1"}, // its own
		{Entry: &messagev1.Entry{Seq: 3, Kind: messagev1.EntryKind_ENTRY_KIND_HIDDEN}, UserIds: []string{"ann"}, DeviceId: "d1"},
		{UserIds: []string{"ann"}},
	}}
	w.broken = 1
	if _, err := c.HandBack(t.Context(), req); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("HandBack while the queue is broken = %v; want UNAVAILABLE", err)
	}
	if _, err := c.HandBack(t.Context(), req); err != nil {
		t.Fatalf("HandBack = %v; want nil", err)
	}
	if diff := cmp.Diff([]string{"1>ann@d1"}, w.missed()); diff != "" {
		t.Errorf("offline pushes (-want +got):\n%s", diff)
	}
}

func TestSignals(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.serve(&gateway{id: "gw1"})
	w.serve(&gateway{id: "gw2"})
	w.set("ann", "gw1/a1", "gw2/a2")
	w.set("bob", "gw2/b1", "gw7/b9") // gw7 is gone: lost without harm
	start(t, w)
	data, err := proto.Marshal(&flowv1.Signal{
		Schema: 1, UserIds: []string{"ann", "bob"}, ExceptConnectionId: "a1",
		Push: &flowv1.Signal_Typing{Typing: &wirev1.TypingPush{ConversationId: "d~ann~bob", UserId: "ann"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.signal("oc.signal", []byte("\xff no signal"))
	w.signal("oc.signal", data)
	eventually(t, "the signal told", func() bool { return len(w.got()) == 2 })
	if diff := cmp.Diff([]string{"gw2 tell a2", "gw2 tell b1"}, w.got()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// Invariant 7: signals that cannot be passed on are dropped, and nobody waits for them.
func TestSignalsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld()
	hang := make(chan struct{})
	w.serve(&gateway{id: "gw1", tell: hang})
	w.set("ann", "gw1/a1")
	start(t, w)
	data, err := proto.Marshal(&flowv1.Signal{UserIds: []string{"ann"}, Push: &flowv1.Signal_Typing{Typing: &wirev1.TypingPush{}}})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		w.signal("oc.signal", data)
	}
	close(hang)
	eventually(t, "some told", func() bool { return len(w.got()) > 0 })
	if n := len(w.got()); n > 64 {
		t.Errorf("%d of 1000 signals were kept; want at most 64", n)
	}
}
