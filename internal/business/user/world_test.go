package user_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/business/user"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/memory"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is the service on real seams, with a message service that keeps what it is told in a list.
type world struct {
	t        *testing.T
	svc      *user.Service
	pub      userv1.UserServiceClient
	internal userv1.UserInternalServiceClient
	messages *messages
	cache    *brokenCache
	reads    *atomic.Int64 // of the database
	rels     *relations
	reg      *prometheus.Registry
	away     *away        // of the database's reads
	ahead    atomic.Int64 // how far the cache's clock is, in ns
}

// newWorld makes the users named, whose ids are their usernames.
func newWorld(t *testing.T, users ...string) *world {
	t.Helper()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	log := slog.New(slog.DiscardHandler)
	net := inproc.New(log)
	w := &world{
		t: t, messages: &messages{heads: map[string]uint64{}},
		reads: new(atomic.Int64), reg: prometheus.NewRegistry(), away: &away{},
	}
	w.cache = &brokenCache{Cache: memory.NewCache(memory.Config{}, func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) })}
	w.rels = &relations{Relations: db.Relations(), reads: w.reads, away: w.away}
	messagev1.RegisterMessageInternalServiceServer(net, w.messages)
	var cfg user.Config
	if _, err := config.Load(&cfg, config.Sources{}); err != nil {
		t.Fatal(err)
	}
	cfg.SweepEvery, cfg.MaxFriends = 10*time.Millisecond, 3
	w.svc = user.New(cfg, user.Deps{
		Profiles: &profiles{db.Profiles(), w.reads, w.away}, Relations: w.rels, Cache: w.cache,
		Messages: messagev1.NewMessageInternalServiceClient(net),
	}, log, w.reg)
	w.svc.Register(net)
	w.pub, w.internal = userv1.NewUserServiceClient(net), userv1.NewUserInternalServiceClient(net)
	for _, u := range users {
		w.create(u, "")
	}
	return w
}

func (w *world) create(id, nickname string) {
	w.t.Helper()
	_, err := w.internal.CreateProfile(w.t.Context(), &userv1.CreateProfileRequest{
		User: &userv1.User{UserId: id, Username: id, Nickname: nickname},
	})
	if err != nil {
		w.t.Fatalf("CreateProfile(%s) = %v; want nil", id, err)
	}
}

// as returns a context that acts for a user.
func (w *world) as(u string) context.Context {
	return calls.WithIdentity(w.t.Context(), calls.Identity{UserID: chat.UserID(u), SessionID: "s-" + chat.SessionID(u)})
}

func (w *world) request(from, to, text string) error {
	_, err := w.pub.RequestFriend(w.as(from), &userv1.RequestFriendRequest{UserId: to, Message: text})
	return err
}

func (w *world) accept(who, from string) error {
	_, err := w.pub.AcceptFriend(w.as(who), &userv1.AcceptFriendRequest{UserId: from})
	return err
}

func (w *world) block(who, whom string) error {
	_, err := w.pub.Block(w.as(who), &userv1.BlockRequest{UserId: whom})
	return err
}

func (w *world) unblock(who, whom string) error {
	_, err := w.pub.Unblock(w.as(who), &userv1.UnblockRequest{UserId: whom})
	return err
}

// befriend makes two users friends.
func (w *world) befriend(a, b string) {
	w.t.Helper()
	if err := errors.Join(w.request(a, b, ""), w.accept(b, a)); err != nil {
		w.t.Fatalf("befriend %s and %s: %v", a, b, err)
	}
}

func (w *world) relation(actor, target string) *userv1.GetRelationResponse {
	w.t.Helper()
	r, err := w.internal.GetRelation(w.t.Context(), &userv1.GetRelationRequest{ActorId: actor, TargetId: target})
	if err != nil {
		w.t.Fatalf("GetRelation(%s, %s) = %v; want nil", actor, target, err)
	}
	return r
}

// run runs the service until the test ends.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.svc.Run(ctx, func() {}) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run = %v; want nil", err)
		}
	})
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within 10 s: %s", what)
		case <-tick.C:
		}
	}
}

// wantReason checks an error; "" wants none.
func wantReason(t *testing.T, what string, err error, want fault.Reason) {
	t.Helper()
	if got := fault.ReasonOf(err); got != want {
		t.Errorf("%s = %v, reason %q; want %q", what, err, got, want)
	}
}

// messages is the message service: it appends once per sender, conversation and clientMsgId.
type messages struct {
	messagev1.UnimplementedMessageInternalServiceServer

	mu    sync.Mutex
	log   []*messagev1.Entry
	heads map[string]uint64
	fail  func(*messagev1.Entry) error
}

func (m *messages) Append(_ context.Context, r *messagev1.AppendRequest) (*messagev1.SendResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := r.GetEntry()
	if m.fail != nil {
		if err := m.fail(e); err != nil {
			return nil, err
		}
	}
	if !chat.ValidID(e.GetClientMsgId()) || e.GetSenderId() == "" {
		return nil, fault.InvalidField("entry", "a client message id and a sender")
	}
	for _, x := range m.log {
		if x.GetConversationId() == e.GetConversationId() && x.GetSenderId() == e.GetSenderId() && x.GetClientMsgId() == e.GetClientMsgId() {
			if line(x) != line(e) {
				return nil, fault.New(fault.ClientMsgIDReused, "another body")
			}
			return &messagev1.SendResponse{}, nil
		}
	}
	m.log = append(m.log, e)
	return &messagev1.SendResponse{}, nil
}

func (m *messages) GetHeads(_ context.Context, r *messagev1.GetHeadsRequest) (*messagev1.GetHeadsResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	resp := &messagev1.GetHeadsResponse{}
	for _, c := range r.GetConversationIds() {
		if seq := m.heads[c]; seq > 0 {
			resp.Heads = append(resp.Heads, &messagev1.TailHead{ConversationId: c, Seq: seq})
		}
	}
	return resp, nil
}

func (m *messages) setHead(c string, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heads[c] = seq
}

func (m *messages) failWith(f func(*messagev1.Entry) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = f
}

// lines returns what was appended, one line each.
func (m *messages) lines() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := []string{}
	for _, e := range m.log {
		out = append(out, line(e))
	}
	return out
}

func line(e *messagev1.Entry) string {
	switch e.GetKind() {
	case messagev1.EntryKind_ENTRY_KIND_FRIEND_REQUEST:
		return fmt.Sprintf("%s by %s: request of %s: %s", e.GetConversationId(), e.GetSenderId(), e.GetFriendRequest().GetUserId(), e.GetFriendRequest().GetMessage())
	case messagev1.EntryKind_ENTRY_KIND_FRIEND_ADDED:
		return fmt.Sprintf("%s by %s: added %s", e.GetConversationId(), e.GetSenderId(), e.GetFriendAdded().GetUserId())
	default:
		return e.String()
	}
}

// away makes reads fail, at once or, as a server that hangs, when the caller has waited long enough.
type away struct{ fails, hangs atomic.Bool }

var errAway = errors.New("the database is away")

func (a *away) read(ctx context.Context) error {
	if a.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	if a.fails.Load() {
		return errAway
	}
	return nil
}

// profiles counts reads.
type profiles struct {
	store.Profiles
	reads *atomic.Int64
	away  *away
}

func (p *profiles) Get(ctx context.Context, ids []chat.UserID) ([]store.Profile, error) {
	p.reads.Add(1)
	if err := p.away.read(ctx); err != nil {
		return nil, err
	}
	return p.Profiles.Get(ctx, ids)
}

// relations counts reads, and can be held up between reading and answering.
type relations struct {
	store.Relations
	reads *atomic.Int64
	away  *away
	after func() // runs once a pair was read
}

func (r *relations) Get(ctx context.Context, a, b chat.UserID) (ab, ba store.Relation, err error) {
	r.reads.Add(1)
	if err := r.away.read(ctx); err != nil {
		return ab, ba, err
	}
	ab, ba, err = r.Relations.Get(ctx, a, b)
	if r.after != nil {
		r.after()
	}
	return ab, ba, err
}

// brokenCache is a cache that can be down.
type brokenCache struct {
	faststate.Cache
	down, noDrop atomic.Bool
}

var errDown = errors.New("cache is down")

func (c *brokenCache) Get(ctx context.Context, key string) ([]byte, faststate.Lease, error) {
	if c.down.Load() {
		return nil, 0, errDown
	}
	return c.Cache.Get(ctx, key)
}

func (c *brokenCache) Drop(ctx context.Context, keys ...string) error {
	if c.noDrop.Load() {
		return errDown
	}
	return c.Cache.Drop(ctx, keys...)
}
