package wsgateway_test

import (
	"context"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	pusherrealtimev1 "github.com/oceanchat/oceanchat/gen/oceanchat/pusherrealtime/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	routerv1 "github.com/oceanchat/oceanchat/gen/oceanchat/router/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/jetstream"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/token"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// verifier takes tokens "user:session:device", all of platform web.
type verifier struct{}

func (verifier) Verify(_ context.Context, t string) (token.Claims, error) {
	parts := strings.Split(t, ":")
	if len(parts) != 3 {
		return token.Claims{}, fault.New(fault.TokenInvalid, "the token is not valid")
	}
	return token.Claims{
		UserID: chat.UserID(parts[0]), SessionID: chat.SessionID(parts[1]), DeviceID: chat.DeviceID(parts[2]),
		Platform: authv1.Platform_PLATFORM_WEB,
	}, nil
}

// router answers each request with its own params, after the gate of its method has opened.
type router struct {
	routerv1.UnimplementedRouterServiceServer

	mu    sync.Mutex
	seen  []*routerv1.RouteRequest
	gates map[string]chan struct{}
	err   error
}

// gate makes requests of a method wait until open is called.
func (r *router) gate(method string) (open func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch := make(chan struct{})
	r.gates[method] = ch
	return sync.OnceFunc(func() { close(ch) })
}

func (r *router) Route(ctx context.Context, req *routerv1.RouteRequest) (*routerv1.RouteResponse, error) {
	form := wire.Form(req.GetForm())
	env, err := form.Parse(req.GetPacket())
	r.mu.Lock()
	r.seen = append(r.seen, proto.CloneOf(req))
	gate, fail := r.gates[env.Method], r.err
	r.mu.Unlock()
	if fail != nil || err != nil {
		return nil, fail
	}
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if env.Method == "test.panic" {
		panic("as asked")
	}
	if !env.ID.Present() {
		return &routerv1.RouteResponse{}, nil
	}
	return &routerv1.RouteResponse{Packet: form.Result(nil, env.ID, env.Params)}, nil
}

func (r *router) requests() []*routerv1.RouteRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*routerv1.RouteRequest(nil), r.seen...)
}

// presence records what gateways say.
type presence struct {
	presencev1.UnimplementedPresenceInternalServiceServer

	mu      sync.Mutex
	hellos  []*presencev1.Connection
	byes    []*presencev1.Connection
	renewed int
	forgot  bool
	mute    bool // the next answer to Renew is lost
	onHello func(*presencev1.Connection) []*presencev1.Connection
	late    chan chan struct{} // where set, the first hello is recorded, and answered when the channel it sends is closed
}

func (p *presence) Hello(ctx context.Context, req *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
	resp := p.hello(req)
	p.mu.Lock()
	late := p.late
	p.late = nil
	p.mu.Unlock()
	if late != nil {
		goOn := make(chan struct{})
		late <- goOn
		select {
		case <-goOn:
		case <-ctx.Done():
		}
	}
	return resp, nil
}

func (p *presence) hello(req *presencev1.HelloRequest) *presencev1.HelloResponse {
	p.mu.Lock()
	defer p.mu.Unlock()
	resp := &presencev1.HelloResponse{}
	for _, c := range req.GetConnections() {
		p.hellos = append(p.hellos, proto.CloneOf(c))
		if p.onHello != nil {
			resp.Displaced = append(resp.Displaced, p.onHello(c)...)
		}
	}
	return resp
}

func (p *presence) Goodbye(_ context.Context, req *presencev1.GoodbyeRequest) (*presencev1.GoodbyeResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range req.GetConnections() {
		p.byes = append(p.byes, proto.CloneOf(c))
	}
	return &presencev1.GoodbyeResponse{}, nil
}

func (p *presence) Renew(context.Context, *presencev1.RenewRequest) (*presencev1.RenewResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.renewed++
	known := p.renewed > 1 && !p.forgot
	p.forgot = false
	if p.mute {
		p.mute = false
		return nil, fault.New(fault.Overloaded, "the answer is lost")
	}
	return &presencev1.RenewResponse{Known: known}, nil
}

func (p *presence) said() (hellos, byes []*presencev1.Connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(hellos, p.hellos...), append(byes, p.byes...)
}

// query answers sync.
type query struct {
	queryv1.UnimplementedQueryServiceServer

	mu   sync.Mutex
	sync func(context.Context, *queryv1.SyncRequest) (*queryv1.SyncResponse, error)
}

func (q *query) Sync(ctx context.Context, req *queryv1.SyncRequest) (*queryv1.SyncResponse, error) {
	q.mu.Lock()
	f := q.sync
	q.mu.Unlock()
	if f != nil {
		return f(ctx, req)
	}
	id := calls.IdentityOf(ctx)
	return &queryv1.SyncResponse{Epoch: 1, SyncToken: "t-" + string(id.UserID), Conversations: []*queryv1.Conversation{{ConversationId: "i~" + string(id.UserID)}}}, nil
}

// auth knows which sessions are over; all others are open.
type auth struct {
	authv1.UnimplementedAuthInternalServiceServer

	mu    sync.Mutex
	over  map[string]bool
	err   error
	asked map[string]int // how often for each session
}

func (a *auth) end(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over[id] = true
}

func (a *auth) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

func (a *auth) askedFor(id string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked[id]
}

func (a *auth) CheckSessions(_ context.Context, req *authv1.CheckSessionsRequest) (*authv1.CheckSessionsResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	resp := &authv1.CheckSessionsResponse{}
	for _, id := range req.GetSessionIds() {
		a.asked[id]++
		if !a.over[id] {
			resp.OpenSessionIds = append(resp.OpenSessionIds, id)
		}
	}
	return resp, a.err
}

// pusher records what is handed back.
type pusher struct {
	pusherrealtimev1.UnimplementedPusherRealtimeServiceServer

	mu    sync.Mutex
	items []*flowv1.OfflineItem
}

func (p *pusher) HandBack(_ context.Context, req *pusherrealtimev1.HandBackRequest) (*pusherrealtimev1.HandBackResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, it := range req.GetItems() {
		p.items = append(p.items, proto.CloneOf(it))
	}
	return &pusherrealtimev1.HandBackResponse{}, nil
}

func (p *pusher) handedBack() []*flowv1.OfflineItem {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*flowv1.OfflineItem(nil), p.items...)
}

// signals is a backbone with nothing but signals.
type signals struct {
	mu   sync.Mutex
	subs map[string]func(string, []byte)
	real *jetstream.Backbone // nil: a connection that is never lost
}

func (s *signals) OnReconnect(fn func()) func() {
	if s.real == nil {
		return func() {}
	}
	return s.real.OnReconnect(fn)
}

func (s *signals) Subscribe(subject, _ string, fn func(string, []byte)) (func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subs[subject] = fn
	return func() {}, nil
}

func (s *signals) publish(subject string, m proto.Message) {
	b, _ := proto.Marshal(m)
	s.mu.Lock()
	fn := s.subs[subject]
	s.mu.Unlock()
	fn(subject, b)
}

// allowList says Allowed for every session, unless told otherwise.
type allowList struct {
	mu     sync.Mutex
	states map[chat.SessionID]faststate.SessionState
	err    error
}

func (*allowList) Allow(context.Context, []faststate.Session) error { return nil }
func (*allowList) Deny(context.Context, []chat.SessionID) error     { return nil }

func (a *allowList) Check(_ context.Context, ids []chat.SessionID) ([]faststate.SessionState, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	states := make([]faststate.SessionState, len(ids))
	for i, id := range ids {
		st, ok := a.states[id]
		if !ok {
			st = faststate.Allowed
		}
		states[i] = st
	}
	return states, a.err
}

func (a *allowList) set(id chat.SessionID, st faststate.SessionState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.states[id] = st
}
