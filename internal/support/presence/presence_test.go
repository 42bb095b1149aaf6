package presence_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/memory"
	"github.com/oceanchat/oceanchat/internal/support/presence"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// people is a user service of a few users: who is whose friend, who blocks whom ("ann>bob"), and who shows nobody when
// it was last seen.
type people struct {
	userv1.UnimplementedUserInternalServiceServer

	friends map[string][]string
	blocks  map[string]bool
	shy     map[string]bool
	err     error

	mu    sync.Mutex
	asked []string // targets of GetRelation
}

func (p *people) ListFriendIds(_ context.Context, r *userv1.ListFriendIdsRequest) (*userv1.ListFriendIdsResponse, error) {
	return &userv1.ListFriendIdsResponse{UserIds: p.friends[r.GetUserId()]}, p.err
}

func (p *people) GetRelation(_ context.Context, r *userv1.GetRelationRequest) (*userv1.GetRelationResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, r.GetTargetId())
	return &userv1.GetRelationResponse{
		TargetExists: true, Blocked: p.blocks[r.GetTargetId()+">"+r.GetActorId()], SeesLastSeen: !p.shy[r.GetTargetId()],
	}, nil
}

// clubs is a group service: the members of each group.
type clubs struct {
	groupv1.UnimplementedGroupInternalServiceServer
	members [][]string
}

func (c clubs) ShareGroup(_ context.Context, r *groupv1.ShareGroupRequest) (*groupv1.ShareGroupResponse, error) {
	var out []string
	for _, m := range c.members {
		for _, id := range r.GetUserIds() {
			if slices.Contains(m, r.GetUserId()) && slices.Contains(m, id) {
				out = append(out, id)
			}
		}
	}
	return &groupv1.ShareGroupResponse{UserIds: out}, nil
}

// world is a presence service among small neighbours, reached as others reach it.
type world struct {
	t      *testing.T
	svc    *presence.Service
	users  *people
	state  *memory.Presence
	public presencev1.PresenceServiceClient
	inner  presencev1.PresenceInternalServiceClient
}

func defaults() presence.Config {
	return presence.Config{Lease: 15 * time.Second, SweepEvery: 5 * time.Second, MaxDevices: 10}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, users: &people{}, state: memory.NewPresence(memory.Config{}, time.Now)}
	log := slog.New(slog.DiscardHandler)
	net := inproc.New(log)
	w.svc = presence.New(defaults(), presence.Deps{
		State: w.state, Users: userv1.NewUserInternalServiceClient(net), Groups: groupv1.NewGroupInternalServiceClient(net),
	}, log, prometheus.NewRegistry())
	w.svc.Register(net)
	userv1.RegisterUserInternalServiceServer(net, w.users)
	groupv1.RegisterGroupInternalServiceServer(net, clubs{members: [][]string{{"ann", "cho", "dan"}, {"eve", "fay"}}})
	w.public, w.inner = presencev1.NewPresenceServiceClient(net), presencev1.NewPresenceInternalServiceClient(net)
	w.renew("g1")
	w.renew("g2")
	return w
}

func (w *world) renew(gateway string) bool {
	w.t.Helper()
	r, err := w.inner.Renew(w.t.Context(), &presencev1.RenewRequest{GatewayId: gateway})
	if err != nil {
		w.t.Fatalf("Renew(%s) = %v; want no error", gateway, err)
	}
	return r.GetKnown()
}

// conn returns a connection from "user/device@gateway/connection".
func conn(s string) *presencev1.Connection {
	who, where, _ := strings.Cut(s, "@")
	user, device, _ := strings.Cut(who, "/")
	gateway, id, _ := strings.Cut(where, "/")
	return &presencev1.Connection{
		UserId: user, DeviceId: device, SessionId: "s-" + device, GatewayId: gateway, ConnectionId: id,
		Status: presencev1.Status_STATUS_ONLINE, Since: timestamppb.Now(),
	}
}

func words(conns []*presencev1.Connection) string {
	var s []string
	for _, c := range conns {
		s = append(s, fmt.Sprintf("%s/%s@%s/%s", c.GetUserId(), c.GetDeviceId(), c.GetGatewayId(), c.GetConnectionId()))
	}
	slices.Sort(s)
	return strings.Join(s, " ")
}

// hello registers connections and returns the displaced ones.
func (w *world) hello(conns ...*presencev1.Connection) string {
	w.t.Helper()
	r, err := w.inner.Hello(w.t.Context(), &presencev1.HelloRequest{Connections: conns})
	if err != nil {
		w.t.Fatalf("Hello(%s) = %v; want no error", words(conns), err)
	}
	return words(r.GetDisplaced())
}

func (w *world) goodbye(conns ...*presencev1.Connection) {
	w.t.Helper()
	if _, err := w.inner.Goodbye(w.t.Context(), &presencev1.GoodbyeRequest{Connections: conns}); err != nil {
		w.t.Fatalf("Goodbye(%s) = %v; want no error", words(conns), err)
	}
}

func (w *world) lookup(users ...string) string {
	w.t.Helper()
	r, err := w.inner.Lookup(w.t.Context(), &presencev1.LookupRequest{UserIds: users})
	if err != nil {
		w.t.Fatalf("Lookup(%v) = %v; want no error", users, err)
	}
	return words(r.GetConnections())
}

// get returns what a user sees of others, as "user:status" or "user:status@last-seen".
func (w *world) get(as string, ids ...string) string {
	w.t.Helper()
	ctx := calls.WithIdentity(w.t.Context(), calls.Identity{UserID: chat.UserID(as)})
	r, err := w.public.Get(ctx, &presencev1.GetRequest{UserIds: ids})
	if err != nil {
		w.t.Fatalf("Get(%v) = %v; want no error", ids, err)
	}
	var s []string
	for _, p := range r.GetPresences() {
		word := p.GetUserId() + ":" + strings.ToLower(strings.TrimPrefix(p.GetStatus().String(), "STATUS_"))
		if at := p.GetLastSeenAt(); at != nil {
			word += at.AsTime().Format("@15:04:05")
		}
		s = append(s, word)
	}
	return strings.Join(s, " ")
}

func (w *world) check(what, got, want string) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s = %q; want %q", what, got, want)
	}
}

// TestConnections: PRES-1, PRES-2.
func TestConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.check("first hello", w.hello(conn("ann/phone@g1/c1")), "")
	w.check("second device", w.hello(conn("ann/web@g2/c1")), "")
	w.check("same device", w.hello(conn("ann/phone@g2/c2")), "ann/phone@g1/c1")
	w.hello(conn("bob/phone@g1/c2"))
	w.check("look-up", w.lookup("bob", "ann", "eve"), "ann/phone@g2/c2 ann/web@g2/c1 bob/phone@g1/c2")
	w.goodbye(conn("ann/phone@g1/c1")) // the displaced one, slow
	w.check("after a slow goodbye", w.lookup("ann"), "ann/phone@g2/c2 ann/web@g2/c1")
	w.goodbye(conn("ann/phone@g2/c2"), conn("bob/phone@g1/c2"))
	w.check("after goodbyes", w.lookup("ann", "bob"), "ann/web@g2/c1")
	w.check("nobody", w.lookup(), "")
}

func TestFieldsSurvive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	want := conn("ann/phone@g1/c1")
	want.Platform, want.Status = 3, presencev1.Status_STATUS_AWAY
	w.hello(want)
	r, err := w.inner.Lookup(t.Context(), &presencev1.LookupRequest{UserIds: []string{"ann"}})
	if err != nil || len(r.GetConnections()) != 1 {
		t.Fatalf("Lookup = %v, %v; want one connection", r, err)
	}
	if got := r.GetConnections()[0]; !proto.Equal(got, want) {
		t.Errorf("Lookup = %v; want %v", got, want)
	}
}

// TestMaxDevices: the eleventh device displaces the oldest, which counts no more at once.
func TestMaxDevices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	start := time.Now().Add(-time.Hour)
	for i := range 10 {
		c := conn(fmt.Sprintf("ann/d%d@g1/c%d", i, i))
		c.Since = timestamppb.New(start.Add(time.Duration(i) * time.Minute))
		w.check("hello of ten devices", w.hello(c), "")
	}
	w.check("the eleventh device", w.hello(conn("ann/d10@g2/c1")), "ann/d0@g1/c0")
	w.check("a device of the ten again", w.hello(conn("ann/d5@g2/c2")), "ann/d5@g1/c5")
	if got := w.lookup("ann"); strings.Count(got, "@") != 10 || strings.Contains(got, "d0@") {
		t.Errorf("Lookup = %q; want ten devices without d0", got)
	}
	w.check("the twelfth device", w.hello(conn("ann/d11@g2/c3")), "ann/d1@g1/c1")
	w.check("another user", w.hello(conn("bob/d0@g1/c1")), "")
}

// TestDeviceRace: of racing connections of one device exactly one remains, and all others were told to go.
func TestDeviceRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const n = 40
	var mu sync.Mutex
	told := map[string]bool{}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			r, err := w.inner.Hello(t.Context(), &presencev1.HelloRequest{
				Connections: []*presencev1.Connection{conn(fmt.Sprintf("ann/phone@g%d/c%d", 1+i%2, i))},
			})
			if err != nil {
				t.Errorf("Hello = %v; want no error", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, c := range r.GetDisplaced() {
				told[words([]*presencev1.Connection{c})] = true
			}
		})
	}
	wg.Wait()
	if got := w.lookup("ann"); strings.Count(got, "@") != 1 || told[got] || len(told) != n-1 {
		t.Errorf("after %d racing connections: %q remains, %d were told to go; want one and the %d others", n, got, len(told), n-1)
	}
}

// TestManyDevicesRace: however many devices come at once, ten remain.
func TestManyDevicesRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			c := conn(fmt.Sprintf("ann/d%d@g1/c%d", i, i))
			if _, err := w.inner.Hello(t.Context(), &presencev1.HelloRequest{Connections: []*presencev1.Connection{c}}); err != nil {
				t.Errorf("Hello = %v; want no error", err)
			}
		})
	}
	wg.Wait()
	if got := strings.Count(w.lookup("ann"), "@"); got != 10 {
		t.Errorf("%d devices remain; want 10", got)
	}
}

// TestLateRegistration: a gateway that comes back with a connection that its device has left is told to close it.
func TestLateRegistration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := conn("ann/phone@g1/c1")
	old.Since = timestamppb.New(time.Now().Add(-time.Minute))
	w.hello(conn("ann/phone@g2/c1"))
	w.check("the old connection, late", w.hello(old), "ann/phone@g1/c1")
	w.check("look-up", w.lookup("ann"), "ann/phone@g2/c1")
}

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		ready := false
		wg.Go(func() {
			if err := w.svc.Run(ctx, func() { ready = true }); err != nil {
				t.Errorf("Run = %v; want no error", err)
			}
		})
		synctest.Wait()
		if !ready {
			t.Error("Run did not call ready; want it at once")
		}
		w.users.friends = map[string][]string{"bob": {"ann", "cat"}}
		w.hello(conn("ann/phone@g1/c1"), conn("cat/phone@g2/c1"))
		began := time.Now()
		for range 3 {
			<-time.After(4 * time.Second)
			w.renew("g1")
		}
		<-time.After(3 * time.Second)
		w.check("look-up when g2 had not renewed for its lease", w.lookup("ann", "cat"), "ann/phone@g1/c1")
		<-time.After(6 * time.Second) // a sweep follows
		if _, gateways := w.state.Counts(); gateways != 1 {
			t.Errorf("%d gateways after a sweep; want 1", gateways)
		}
		w.check("presence of who was at g2", w.get("bob", "cat"),
			"cat:offline"+began.Add(15*time.Second).Format("@15:04:05"))
		if w.renew("g2") {
			t.Error("Renew(g2) after its lease ended = true; want false")
		}
		w.check("registering again", w.hello(conn("cat/phone@g2/c1")), "")
		w.check("look-up", w.lookup("cat"), "cat/phone@g2/c1")
		cancel()
		wg.Wait()
	})
}

func TestGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.users.friends = map[string][]string{"ann": {"bob", "shy", "rude", "gone", "never"}}
		w.users.shy = map[string]bool{"shy": true}
		w.users.blocks = map[string]bool{"rude>ann": true, "dan>ann": true}
		away := conn("bob/web@g2/c9")
		away.Status = presencev1.Status_STATUS_AWAY
		for _, c := range []*presencev1.Connection{
			away, conn("bob/phone@g1/c1"), conn("rude/phone@g1/c2"), conn("cho/phone@g1/c3"), conn("eve/phone@g1/c4"),
			conn("gone/phone@g1/c5"), conn("shy/phone@g1/c6"), conn("ann/phone@g1/c7"), conn("dan/phone@g1/c8"),
		} {
			w.hello(c)
		}
		w.goodbye(conn("gone/phone@g1/c5"), conn("shy/phone@g1/c6"), conn("dan/phone@g1/c8"))
		at := time.Now().Format("@15:04:05")
		tests := []struct {
			name string
			as   string
			ids  []string
			want string
		}{
			{"a friend, the best of its connections", "ann", []string{"bob"}, "bob:online"},
			{"a fellow member", "ann", []string{"cho"}, "cho:online"},
			{"oneself", "ann", []string{"ann"}, "ann:online"},
			{"oneself without any friend", "eve", []string{"eve"}, "eve:online"},
			{"a stranger and nobody are both left out", "ann", []string{"eve", "nobody"}, ""},
			{"in the order asked, each once", "ann", []string{"cho", "eve", "bob", "cho", "ann"}, "cho:online bob:online ann:online"},
			{"last seen", "ann", []string{"gone"}, "gone:offline" + at},
			{"last seen is not shown", "ann", []string{"shy"}, "shy:offline"},
			{"never seen", "ann", []string{"never"}, "never:offline"},
			{"who blocks the caller seems off line", "ann", []string{"rude", "dan"}, "rude:offline dan:offline"},
			{"nobody asked", "ann", nil, ""},
		}
		for _, tt := range tests {
			w.check(tt.name+": Get", w.get(tt.as, tt.ids...), tt.want)
		}
		w.goodbye(away)
		w.hello(away)
		w.goodbye(conn("bob/phone@g1/c1"))
		w.check("away alone: Get", w.get("ann", "bob"), "bob:away")
		if slices.Contains(w.users.asked, "never") || slices.Contains(w.users.asked, "eve") || slices.Contains(w.users.asked, "ann") {
			t.Errorf("user was asked about %v; want only those who show something to the caller", w.users.asked)
		}
	})
}

// TestBadInput: invariant 8.
func TestBadInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := calls.WithIdentity(t.Context(), calls.Identity{UserID: "ann"})
	many := make([]string, 501)
	for i := range many {
		many[i] = "ann"
	}
	get := func(ctx context.Context, ids ...string) error {
		_, err := w.public.Get(ctx, &presencev1.GetRequest{UserIds: ids})
		return err
	}
	hello := func(c *presencev1.Connection) error {
		_, err := w.inner.Hello(t.Context(), &presencev1.HelloRequest{Connections: []*presencev1.Connection{c}})
		return err
	}
	noUser, badGateway := conn("/phone@g1/c1"), conn("ann/phone@g.1/c1")
	tests := []struct {
		name  string
		err   error
		want  fault.Reason
		field string
	}{
		{"501 ids", get(ann, many...), fault.InvalidFieldReason, "userIds"},
		{"an empty id", get(ann, "bob", ""), fault.InvalidFieldReason, "userIds[1]"},
		{"an id with a wildcard", get(ann, ">"), fault.InvalidFieldReason, "userIds[0]"},
		{"without identity", get(t.Context(), "ann"), fault.TokenMissing, ""},
		{"a connection of nobody", hello(noUser), fault.InvalidFieldReason, "userId"},
		{"a gateway id with a dot", hello(badGateway), fault.InvalidFieldReason, "gatewayId"},
		{"an empty connection", hello(&presencev1.Connection{}), fault.InvalidFieldReason, "userId"},
	}
	for _, tt := range tests {
		f := fault.Of(tt.err)
		if f == nil || f.Reason != tt.want || tt.field != "" && (len(f.Fields) == 0 || f.Fields[0].Field != tt.field) {
			t.Errorf("%s = %v, fields %v; want %s of %q", tt.name, tt.err, f, tt.want, tt.field)
		}
	}
	if err := get(ann, many[:500]...); err != nil {
		t.Errorf("500 ids = %v; want no error", err)
	}
	if _, err := w.inner.Renew(t.Context(), &presencev1.RenewRequest{}); !fault.IsReason(err, fault.InvalidFieldReason) {
		t.Errorf("Renew of no gateway = %v; want %s", err, fault.InvalidFieldReason)
	}
}

// TestUserIsDown: nothing is told when it cannot be decided.
func TestUserIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.users.err = fault.New(fault.Overloaded, "later")
	w.hello(conn("bob/phone@g1/c1"))
	ctx := calls.WithIdentity(t.Context(), calls.Identity{UserID: "ann"})
	if r, err := w.public.Get(ctx, &presencev1.GetRequest{UserIds: []string{"bob"}}); !fault.IsReason(err, fault.Overloaded) {
		t.Errorf("Get while user is down = %v, %v; want %s", r, err, fault.Overloaded)
	}
}

// broken is a fast state that is out of reach.
type broken struct{ faststate.Presence }

func (broken) Sweep(context.Context, time.Time) ([]chat.GatewayID, error) { return nil, errDown }

var errDown = errors.New("fast state is down")

func TestRunFails(t *testing.T) {
	t.Parallel()
	svc := presence.New(defaults(), presence.Deps{State: broken{}}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	err := svc.Run(t.Context(), func() { t.Error("ready was called; want it not to be") })
	if !errors.Is(err, errDown) {
		t.Errorf("Run = %v; want %v", err, errDown)
	}
}
