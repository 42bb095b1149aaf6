package router_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	routerv1 "github.com/oceanchat/oceanchat/gen/oceanchat/router/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/access/router"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network answers every call with do and remembers the last one.
type network struct {
	do     func(ctx context.Context, reply any) error
	method string
	args   proto.Message
	id     calls.Identity
	reqID  string
	count  int
	seen   func(ctx context.Context)
}

func (n *network) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	n.method, n.args, n.id, n.reqID = method, args.(proto.Message), calls.IdentityOf(ctx), calls.RequestID(ctx)
	n.count++
	if n.seen != nil {
		n.seen(ctx)
	}
	if n.do == nil {
		return nil
	}
	return n.do(ctx, reply)
}

// bucket gives each user as many tokens as it holds; it never fills.
type bucket struct {
	left map[string]int
	err  error
}

func (b *bucket) Take(_ context.Context, key string, _ float64, burst int) (bool, time.Duration, error) {
	if b.left == nil {
		b.left = map[string]int{}
	}
	if _, ok := b.left[key]; !ok {
		b.left[key] = burst
	}
	b.left[key]--
	return b.left[key] >= 0, 250 * time.Millisecond, b.err
}

// rig is a router between a test and its network.
type rig struct {
	*router.Service

	net    *network
	limits *bucket
	log    bytes.Buffer
}

func newRig(cfg router.Config, do func(context.Context, any) error) *rig {
	r := &rig{net: &network{do: do}, limits: &bucket{}}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	log := slog.New(slog.NewTextHandler(&r.log, nil))
	r.Service = router.New(cfg, r.net, r.limits, log, prometheus.NewRegistry())
	return r
}

func request(packet string) *routerv1.RouteRequest {
	return &routerv1.RouteRequest{
		GatewayId: "gw1", ConnectionId: "c1", UserId: "u1", SessionId: "s1", DeviceId: "d1",
		Platform: authv1.Platform_PLATFORM_WEB, RequestId: "r1", Form: routerv1.Form_FORM_JSON, Packet: []byte(packet),
	}
}

// route returns the packet that answers packet.
func (r *rig) route(t *testing.T, packet string) string {
	t.Helper()
	resp, err := r.Route(t.Context(), request(packet))
	if err != nil {
		t.Fatalf("Route(%s) = %v; want no error", packet, err)
	}
	return string(resp.GetPacket())
}

const send = `{"jsonrpc":"2.0","id":"a","method":"message.send","params":{"clientMsgId":"m1","groupId":"g1","text":{"text":"hi"}}}`

func acknowledged(_ context.Context, reply any) error {
	proto.Merge(reply.(proto.Message), &messagev1.SendResponse{MessageId: "x", ConversationId: "g~g1", Seq: 1, Ordinal: 1})
	return nil
}

// ROUTER-1, ROUTER-2: the packet reaches the owner of its method with who sent it, and the answer comes back.
func TestRoute(t *testing.T) {
	t.Parallel()
	r := newRig(router.Config{}, acknowledged)
	got := r.route(t, send)
	want := `{"jsonrpc":"2.0","id":"a","result":{"messageId":"x","conversationId":"g~g1","seq":1,"ordinal":1,"sentAt":null}}`
	if got != want {
		t.Errorf("Route(send) = %s; want %s", got, want)
	}
	if r.net.method != "/oceanchat.message.v1.MessageService/Send" || r.net.reqID != "r1" {
		t.Errorf("Route(send) called %s with request id %q; want MessageService/Send with r1", r.net.method, r.net.reqID)
	}
	args := &messagev1.SendRequest{ClientMsgId: "m1", GroupId: "g1", Text: &messagev1.Text{Text: "hi"}}
	if diff := cmp.Diff(args, r.net.args, protocmp.Transform()); diff != "" {
		t.Errorf("Route(send), params -want +got:\n%s", diff)
	}
	id := calls.Identity{UserID: "u1", SessionID: "s1", DeviceID: "d1", Platform: authv1.Platform_PLATFORM_WEB, ConnectionID: "c1"}
	if diff := cmp.Diff(id, r.net.id); diff != "" {
		t.Errorf("Route(send), identity -want +got:\n%s", diff)
	}
}

func TestRouteProto(t *testing.T) {
	t.Parallel()
	r := newRig(router.Config{}, acknowledged)
	params, err := proto.Marshal(&messagev1.SendRequest{ClientMsgId: "m1"})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		frame  *wirev1.ClientFrame
		reason string
	}{
		{"send", &wirev1.ClientFrame{Id: proto.Uint32(7), Method: "message.send", Params: params}, ""},
		{"unknown", &wirev1.ClientFrame{Id: proto.Uint32(7), Method: "message.shout"}, "UNKNOWN_METHOD"},
		{"garbage", &wirev1.ClientFrame{Id: proto.Uint32(7), Method: "message.send", Params: []byte{0xff}}, "MALFORMED"},
	}
	for _, tt := range tests {
		packet, err := proto.Marshal(tt.frame)
		if err != nil {
			t.Fatal(err)
		}
		req := request(string(packet))
		req.Form = routerv1.Form_FORM_PROTO
		resp, err := r.Route(t.Context(), req)
		var got wirev1.ServerFrame
		if err != nil || proto.Unmarshal(resp.GetPacket(), &got) != nil {
			t.Fatalf("Route(%s) = %q, %v; want a ServerFrame", tt.name, resp.GetPacket(), err)
		}
		if id, reason := got.GetReply().GetId(), got.GetReply().GetError().GetReason(); id != 7 || reason != tt.reason {
			t.Errorf("Route(%s) = id %d, reason %q; want 7, %q", tt.name, id, reason, tt.reason)
		}
	}
}

// answer is a JSON-RPC answer with an error.
type answer struct {
	ID    any `json:"id"`
	Error struct {
		Code    int          `json:"code"`
		Message string       `json:"message"`
		Data    wirev1.Error `json:"data"`
	} `json:"error"`
}

func parse(t *testing.T, packet string) *answer {
	t.Helper()
	var a answer
	if err := json.Unmarshal([]byte(packet), &a); err != nil {
		t.Fatalf("answer %s: %v", packet, err)
	}
	return &a
}

// Invariant 8: bad input gets its answer and reaches no service.
func TestRouteBadInput(t *testing.T) {
	t.Parallel()
	call := func(method, params string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":` + params + `}`
	}
	tests := []struct {
		name, packet string
		id           any
		number       int
		reason, msg  string
	}{
		{"not JSON", `{`, nil, -32700, "MALFORMED", "not valid JSON"},
		{"batch", `[]`, nil, -32600, "MALFORMED", "not a JSON-RPC 2.0 request"},
		{"lane", `{"jsonrpc":"2.0","id":1,"lane":9,"method":"message.send"}`, 1.0, -32600, "INVALID_FIELD", "lane: a whole number from 0 to 3"},
		{"no object", call("message.send", `[]`), 1.0, -32602, "MALFORMED", "params: an object is needed"},
		{"doubled member", call("message.send", `{"text":{},"text":{}}`), 1.0, -32602, "MALFORMED", "twice"},
		{"wrong type", call("message.markRead", `{"seq":"7"}`), 1.0, 3, "INVALID_FIELD", "seq: a whole number from 0"},
		{"unknown method", call("message.shout", `{}`), 1.0, -32601, "UNKNOWN_METHOD", "no such method"},
		{"no service", call("admin.reset", `{}`), 1.0, -32601, "UNKNOWN_METHOD", "no such method"},
		{"not realtime", call("auth.login", `{}`), 1.0, -32601, "UNKNOWN_METHOD", "no such method"},
		{"internal", call("message.append", `{}`), 1.0, -32601, "UNKNOWN_METHOD", "no such method"},
		{"the gateway's own", call("connect", `{}`), 1.0, -32601, "UNKNOWN_METHOD", "no such method"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(router.Config{}, nil)
			a := parse(t, r.route(t, tt.packet))
			if a.ID != tt.id || a.Error.Code != tt.number || a.Error.Data.GetReason() != tt.reason || !strings.Contains(a.Error.Message, tt.msg) {
				t.Errorf("Route(%s) = %+v; want id %v, %d, %s, %q", tt.packet, a, tt.id, tt.number, tt.reason, tt.msg)
			}
			if r.net.count != 0 {
				t.Errorf("Route(%s) called %s; want no call", tt.packet, r.net.method)
			}
		})
	}
}

func TestRouteRefusesTheGateway(t *testing.T) {
	t.Parallel()
	r := newRig(router.Config{}, nil)
	req := request(send)
	req.Form = routerv1.Form_FORM_UNSPECIFIED
	if _, err := r.Route(t.Context(), req); fault.ReasonOf(err) != fault.InvalidFieldReason {
		t.Errorf("Route without a form = %v; want INVALID_FIELD", err)
	}
	req = request(send)
	req.UserId = ""
	resp, err := r.Route(t.Context(), req)
	if err != nil || parse(t, string(resp.GetPacket())).Error.Data.GetReason() != "TOKEN_MISSING" || r.net.count != 0 {
		t.Errorf("Route without a user = %s, %v; want TOKEN_MISSING and no call", resp.GetPacket(), err)
	}
}

func TestRouteNotification(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, packet string }{
		{"served", `{"jsonrpc":"2.0","method":"message.typing","params":{"conversationId":"g~1"}}`},
		{"unknown", `{"jsonrpc":"2.0","method":"message.shout"}`},
		{"params", `{"jsonrpc":"2.0","method":"message.typing","params":[]}`},
		{"wrong type", `{"jsonrpc":"2.0","method":"message.typing","params":{"conversationId":7}}`},
	}
	for _, tt := range tests {
		if got := newRig(router.Config{}, nil).route(t, tt.packet); got != "" {
			t.Errorf("Route(%s) = %s; want an empty packet", tt.name, got)
		}
	}
	if got := newRig(router.Config{}, nil).route(t, `{"jsonrpc":"1.0","method":"x"}`); !strings.Contains(got, `"id":null`) {
		t.Errorf("Route of what is no request = %s; want an answer with id null", got)
	}
}

func TestRouteErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		do     func(context.Context, any) error
		number int
		reason string
		logged bool
	}{
		{"a refusal", func(context.Context, any) error { return fault.New(fault.NotMember, "x") }, 7, "NOT_MEMBER", false},
		{"a foreign error", func(context.Context, any) error { return io.ErrUnexpectedEOF }, 13, "INTERNAL", true},
		{"an internal fault, logged where it was", func(context.Context, any) error { return fault.New(fault.InternalReason, "x") }, 13, "INTERNAL", false},
		{"a panic", func(context.Context, any) error { panic("boom") }, 13, "INTERNAL", true},
		{"a time-out that the owner tells", func(context.Context, any) error { return context.DeadlineExceeded }, 14, "OUTCOME_UNKNOWN", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(router.Config{}, tt.do)
			a := parse(t, r.route(t, send))
			if a.Error.Code != tt.number || a.Error.Data.GetReason() != tt.reason || strings.Contains(a.Error.Message, "boom") {
				t.Errorf("Route = %+v; want %d, %s", a, tt.number, tt.reason)
			}
			lines := strings.Count(r.log.String(), "request_id=r1")
			if want := map[bool]int{true: 1}[tt.logged]; lines != want {
				t.Errorf("Route logged %d lines: %s; want %d", lines, r.log.String(), want)
			}
		})
	}
}

// An owner that does not answer in time leaves the outcome open, whatever words it fails with.
func TestRouteTimeout(t *testing.T) {
	t.Parallel()
	for _, words := range []error{context.DeadlineExceeded, errors.New("gave up"), fault.New(fault.InternalReason, "database")} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			r := newRig(router.Config{Timeout: 3 * time.Second}, func(ctx context.Context, _ any) error {
				<-ctx.Done()
				return words
			})
			a := parse(t, r.route(t, send))
			if a.Error.Data.GetReason() != "OUTCOME_UNKNOWN" || a.Error.Code != 14 || time.Since(start) != 3*time.Second {
				t.Errorf("Route after %v = %+v; want OUTCOME_UNKNOWN after 3s", time.Since(start), a)
			}
		})
	}
}

// A lost answer leaves a command in doubt, and a reading not: there is nothing to repeat with the same id.
func TestRouteLostAnswer(t *testing.T) {
	t.Parallel()
	tests := []struct{ method, params, reason string }{
		{"message.send", `{}`, "OUTCOME_UNKNOWN"},
		{"message.markRead", `{}`, "OUTCOME_UNKNOWN"},
		{"group.addMembers", `{}`, "OUTCOME_UNKNOWN"},
		{"user.updateMe", `{}`, "OUTCOME_UNKNOWN"},
		{"user.getMe", `{}`, "OVERLOADED"},
		{"group.listMembers", `{}`, "OVERLOADED"},
		{"presence.get", `{}`, "OVERLOADED"},
		{"query.history", `{}`, "OVERLOADED"},
		{"query.sync", `{}`, "OVERLOADED"}, // a POST, and yet it changes nothing
	}
	for _, tt := range tests {
		t.Run(tt.method, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(router.Config{Timeout: time.Second}, func(ctx context.Context, _ any) error {
					<-ctx.Done()
					return ctx.Err()
				})
				got := r.route(t, `{"jsonrpc":"2.0","id":1,"method":"`+tt.method+`","params":`+tt.params+`}`)
				a := parse(t, got)
				if a.Error.Data.GetReason() != tt.reason || a.Error.Code != 14 || !strings.Contains(got, `"retryAfterMs":1000`) {
					t.Errorf("Route(%s) without an answer = %+v; want 14, %s, 1 s", tt.method, a, tt.reason)
				}
			})
		})
	}
}

// ROUTER-3: per user.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	r := newRig(router.Config{RateLimit: 3}, nil)
	for range 3 {
		if got := r.route(t, send); !strings.Contains(got, `"result"`) {
			t.Fatalf("Route within the rate = %s; want a result", got)
		}
	}
	got := r.route(t, send)
	if a := parse(t, got); a.Error.Code != 8 || a.Error.Data.GetReason() != "RATE_LIMITED" || !strings.Contains(got, `"retryAfterMs":250`) {
		t.Errorf("Route above the rate = %s; want 8, RATE_LIMITED, 250 ms", got)
	}
	if r.net.count != 3 {
		t.Errorf("calls = %d; want 3", r.net.count)
	}
	other := request(send)
	other.UserId = "u2"
	if resp, err := r.Route(t.Context(), other); err != nil || !strings.Contains(string(resp.GetPacket()), `"result"`) {
		t.Errorf("Route of another user = %s, %v; want a result", resp.GetPacket(), err)
	}
	r.limits.err = io.ErrUnexpectedEOF
	if got := r.route(t, send); !strings.Contains(got, `"result"`) {
		t.Errorf("Route without counters = %s; want a result", got)
	}
	if r := newRig(router.Config{}, nil); !strings.Contains(r.route(t, send), `"result"`) || r.limits.left != nil {
		t.Error("Route with rate limit 0 counted; want it off")
	}
}

// ROUTER-3: a service that fails is left alone, one call a second asks whether it is back, and others go on.
func TestBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var broken error = fault.New(fault.OutcomeUnknown, "x")
		r := newRig(router.Config{}, nil)
		r.net.do = func(context.Context, any) error { return broken }
		fails := func(n int) {
			for range n {
				r.route(t, send)
			}
		}
		fails(19)
		time.Sleep(11 * time.Second) // synctest: what is older than 10 s does not count
		fails(19)
		if r.net.count != 38 {
			t.Fatalf("calls = %d; want 38: below 20 within 10 s no circuit opens", r.net.count)
		}
		fails(1)
		got := r.route(t, send)
		if a := parse(t, got); r.net.count != 39 || a.Error.Data.GetReason() != "OVERLOADED" || !strings.Contains(got, `"retryAfterMs":1000`) {
			t.Fatalf("Route with an open circuit = %s, %d calls; want OVERLOADED, 1 s, 39 calls", got, r.net.count)
		}
		if r.route(t, `{"jsonrpc":"2.0","id":1,"method":"user.getMe"}`); r.net.count != 40 {
			t.Errorf("calls = %d; want 40: another service's circuit is its own", r.net.count)
		}
		time.Sleep(time.Second)
		fails(5)
		if r.net.count != 41 {
			t.Errorf("calls = %d; want 41: one probe a second", r.net.count)
		}
		time.Sleep(time.Second)
		broken = nil
		fails(5)
		if r.net.count != 46 {
			t.Errorf("calls = %d; want 46: a probe that works closes the circuit", r.net.count)
		}
	})
}

// ROUTER-3: a service that refuses what is too much for it works: what it has room for still reaches it.
func TestOverloadOpensNoCircuit(t *testing.T) {
	t.Parallel()
	r := newRig(router.Config{}, func(context.Context, any) error {
		return fault.New(fault.Overloaded, "x").After(time.Second)
	})
	for range 100 {
		r.route(t, send)
	}
	if r.net.count != 100 {
		t.Fatalf("calls = %d; want all 100", r.net.count)
	}
	r.net.do = nil
	if got := r.route(t, send); !strings.Contains(got, `"result"`) {
		t.Errorf("Route when there is room again = %s; want a result", got)
	}
}

// ROUTER-3: of an open circuit there is one probe at a time, however long it takes; one whose caller went away makes
// room for the next, and outcomes of calls from before the opening say nothing.
func TestBreakerProbesOneAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(router.Config{Timeout: time.Minute}, func(context.Context, any) error { return fault.New(fault.OutcomeUnknown, "x") })
		old := make(chan error)
		slow := func(answer chan error) func(context.Context, any) error {
			return func(ctx context.Context, _ any) error {
				select {
				case err := <-answer:
					return err
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		failing := r.net.do
		r.net.do = slow(old)
		go func() { _, _ = r.Route(t.Context(), request(send)) }() // from before the opening
		synctest.Wait()
		r.net.do = failing
		for range 20 {
			r.route(t, send)
		}
		time.Sleep(time.Second)
		probe := make(chan error)
		r.net.do = slow(probe)
		gone, leave := context.WithCancel(t.Context())
		go func() { _, _ = r.Route(gone, request(send)) }()
		synctest.Wait()
		calls := r.net.count
		refused := func(when string) {
			t.Helper()
			if a := parse(t, r.route(t, send)); a.Error.Data.GetReason() != "OVERLOADED" || r.net.count != calls {
				t.Errorf("%s: Route = %+v after %d calls; want OVERLOADED after %d", when, a, r.net.count, calls)
			}
		}
		refused("while the probe is under way")
		time.Sleep(10 * time.Second)
		refused("while the probe still is under way")
		old <- nil
		synctest.Wait()
		refused("after an answer from before the opening")
		leave() // the probe says nothing
		synctest.Wait()
		go func() { _, _ = r.Route(t.Context(), request(send)) }()
		synctest.Wait()
		if calls++; r.net.count != calls {
			t.Errorf("calls after a probe without a verdict = %d; want %d: the next probe", r.net.count, calls)
		}
		refused("while the second probe is under way")
		probe <- nil
		synctest.Wait()
		r.net.do = nil
		if got := r.route(t, send); !strings.Contains(got, `"result"`) {
			t.Errorf("Route after a probe that worked = %s; want a result", got)
		}
	})
}

// Answers that clients must see, and callers that went away, open no circuit.
func TestBreakerStaysClosed(t *testing.T) {
	t.Parallel()
	for _, reason := range []fault.Reason{fault.LogFull, fault.NotFoundReason, fault.RateLimited, fault.InvalidFieldReason} {
		r := newRig(router.Config{}, func(context.Context, any) error { return fault.New(reason, "x") })
		for range 50 {
			r.route(t, send)
		}
		if r.net.count != 50 {
			t.Errorf("calls after %s = %d; want 50", reason, r.net.count)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	r := newRig(router.Config{}, func(ctx context.Context, _ any) error { return ctx.Err() })
	for range 50 {
		if _, err := r.Route(gone, request(send)); err != nil {
			t.Fatal(err)
		}
	}
	if r.net.count != 50 {
		t.Errorf("calls of callers that went away = %d; want 50", r.net.count)
	}
	mixed := newRig(router.Config{}, nil)
	mixed.net.do = func(context.Context, any) error {
		if mixed.net.count%5 < 2 {
			return fault.New(fault.InternalReason, "x")
		}
		return nil
	}
	for range 50 {
		mixed.route(t, send)
	}
	if mixed.net.count != 50 {
		t.Errorf("calls with 40%% failing = %d; want 50", mixed.net.count)
	}
}

func TestRunShowsMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	r := &rig{net: &network{}, limits: &bucket{}}
	r.Service = router.New(router.Config{Timeout: time.Second}, r.net, r.limits, slog.New(slog.DiscardHandler), reg)
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error)
	go func() { ended <- r.Run(ctx, func() { close(ready) }) }()
	<-ready
	r.route(t, send)
	r.route(t, `{"jsonrpc":"2.0","id":1,"method":"a.b\n"}`)
	want := `
# HELP oceanchat_router_requests_total Requests of long connections by method and code of the answer.
# TYPE oceanchat_router_requests_total counter
oceanchat_router_requests_total{code="OK",method="message.send"} 1
oceanchat_router_requests_total{code="UNIMPLEMENTED",method="unknown"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "oceanchat_router_requests_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(reg, "oceanchat_router_circuit_open"); n < 7 || err != nil {
		t.Errorf("circuits = %d, %v; want one per public service", n, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v; want no error", err)
	}
	if n, err := testutil.GatherAndCount(reg); n != 0 || err != nil {
		t.Errorf("metrics after Run = %d, %v; want none", n, err)
	}
}

// FuzzRoute: no packet of any form breaks the router, and every answer is a packet of the form.
func FuzzRoute(f *testing.F) {
	f.Add([]byte(send))
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"query.history","params":{"limit":-1}}`))
	f.Add([]byte("\x08\x01\x1a\x0cmessage.send\x22\x02\x0a\x00"))
	r := newRig(router.Config{}, nil)
	f.Fuzz(func(t *testing.T, packet []byte) {
		for _, form := range []wire.Form{wire.JSON, wire.Proto} {
			req := request(string(packet))
			req.Form = routerv1.Form(form)
			resp, err := r.Route(t.Context(), req)
			if err != nil {
				t.Fatalf("Route(%q) = %v; want no error", packet, err)
			}
			if form == wire.JSON && len(resp.GetPacket()) > 0 && !json.Valid(resp.GetPacket()) {
				t.Fatalf("Route(%q) = %q; want JSON", packet, resp.GetPacket())
			}
			if form == wire.Proto && proto.Unmarshal(resp.GetPacket(), &wirev1.ServerFrame{}) != nil {
				t.Fatalf("Route(%q) = %q; want a ServerFrame", packet, resp.GetPacket())
			}
		}
		if strings.Contains(r.log.String(), "panic") {
			t.Fatalf("Route(%q) panicked: %s", packet, r.log.String())
		}
	})
}
