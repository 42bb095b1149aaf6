package group_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/business/group"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/memory"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is what several instances of group share: database, log, users, fast state.
type world struct {
	db    *database
	log   *fakeLog
	users *fakeUsers
	cache faststate.Cache
	now   func() time.Time
	cfg   group.Config
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		db:    &database{groups: map[chat.GroupID]store.Group{}, named: map[chat.GroupID][]chat.UserID{}, members: map[chat.GroupID]map[chat.UserID]store.Member{}},
		log:   &fakeLog{entries: map[string][]*messagev1.Entry{}, notice: map[string]uint64{}},
		users: &fakeUsers{known: map[string]bool{}, blocks: map[[2]string]bool{}},
		cache: memory.NewCache(memory.Config{}, time.Now), now: time.Now,
	}
	if _, err := config.Load(&w.cfg, config.Sources{}); err != nil {
		t.Fatal(err)
	}
	w.cfg.CreateBurst = 10_000
	w.users.add("ann", "bob", "cyd", "dan", "eve", "fay", "gus", "hal", "stranger")
	return w
}

// instance is one process of group, whose world may fail.
type instance struct {
	*group.Service
	faults *faults
}

func (w *world) instance() *instance {
	f := &faults{reg: prometheus.NewRegistry()}
	net := inproc.New(slog.New(slog.DiscardHandler))
	messagev1.RegisterMessageInternalServiceServer(net, &logOf{fakeLog: w.log, f: f})
	userv1.RegisterUserInternalServiceServer(net, w.users)
	s := group.New(w.cfg, group.Deps{
		Groups: groupsOf{w.db, f}, Members: membersOf{w.db, f}, Cache: cacheOf{w.cache, f},
		Limits: memory.NewLimits(memory.Config{}, w.now), Network: net, Now: w.now,
	}, slog.New(slog.DiscardHandler), f.reg)
	return &instance{s, f}
}

// as returns a context that acts for u.
func as(t *testing.T, u string) context.Context {
	t.Helper()
	return calls.WithIdentity(t.Context(), calls.Identity{UserID: chat.UserID(u)})
}

var errCrash = errors.New("the process is dead")

// faults makes writes of one instance fail: from the crashAt-th one on all, and that one with or without its effect.
type faults struct {
	reg      *prometheus.Registry // of the instance
	mu       sync.Mutex
	writes   int
	crashAt  int // 0: never
	effect   bool
	dead     bool
	appendIs error // every Append answers so, without an effect
}

// write runs f as one write of the instance.
func (f *faults) write(do func() error) error {
	f.mu.Lock()
	f.writes++
	crash, dead := f.writes == f.crashAt, f.dead
	f.dead = f.dead || crash
	effect := f.effect
	f.mu.Unlock()
	switch {
	case dead, crash && !effect:
		return errCrash
	case crash:
		_ = do()
		return errCrash
	}
	return do()
}

func (f *faults) read() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errCrash
	}
	return nil
}

// away makes all reads and writes fail, until it is back.
func (f *faults) away(is bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = is
}

func (f *faults) refuse(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.appendIs = err
}

// database holds rows and gives copies.
type database struct {
	mu      sync.Mutex
	groups  map[chat.GroupID]store.Group
	named   map[chat.GroupID][]chat.UserID // by a pending change
	members map[chat.GroupID]map[chat.UserID]store.Member
	reads   int
}

func copyOf(m store.Member) store.Member { m.Spans = slices.Clone(m.Spans); return m }

type groupsOf struct {
	db *database
	f  *faults
}

func (s groupsOf) Create(_ context.Context, g store.Group, c store.Change) error {
	return s.f.write(func() error {
		s.db.mu.Lock()
		defer s.db.mu.Unlock()
		if _, ok := s.db.groups[g.ID]; ok {
			return store.ErrExists
		}
		s.db.groups[g.ID] = s.db.begin(g, c)
		return nil
	})
}

func (s groupsOf) Get(_ context.Context, ids []chat.GroupID) ([]store.Group, error) {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	s.db.reads++
	var out []store.Group
	for _, id := range ids {
		if g, ok := s.db.groups[id]; ok {
			g.Pending = slices.Clone(g.Pending)
			out = append(out, g)
		}
	}
	return out, s.f.read()
}

func (s groupsOf) Begin(_ context.Context, id chat.GroupID, version uint64, c store.Change) error {
	return s.f.write(func() error {
		s.db.mu.Lock()
		defer s.db.mu.Unlock()
		g := s.db.groups[id]
		if g.Version != version || len(g.Pending) > 0 {
			return store.ErrConflict
		}
		s.db.groups[id] = s.db.begin(g, c)
		return nil
	})
}

func (db *database) begin(g store.Group, c store.Change) store.Group {
	g.Pending, g.PendingAt = slices.Clone(c.Data), c.At
	db.named[g.ID] = slices.Clone(c.Users)
	return g
}

// Commit is two writes, as in a database without transactions: members, then the group.
func (s groupsOf) Commit(_ context.Context, g store.Group, members []store.Member) error {
	half := func() error { return s.f.write(func() error { return s.db.put(g, members, false) }) }
	if err := half(); err != nil {
		return err
	}
	return s.f.write(func() error { return s.db.put(g, members, true) })
}

func (db *database) put(g store.Group, members []store.Member, whole bool) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.groups[g.ID].Version != g.Version {
		return store.ErrConflict
	}
	rows := db.members[g.ID]
	if rows == nil {
		rows = map[chat.UserID]store.Member{}
		db.members[g.ID] = rows
	}
	for _, m := range members {
		rows[m.UserID] = copyOf(m)
	}
	if whole {
		g.Version++
		g.Pending, g.PendingAt = nil, time.Time{}
		delete(db.named, g.ID)
		db.groups[g.ID] = g
	}
	return nil
}

func (s groupsOf) Unfinished(_ context.Context, after store.Begun, limit int) ([]store.Begun, error) {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	order := func(a, b store.Begun) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.GroupID, b.GroupID))
	}
	var out []store.Begun
	for id, g := range s.db.groups {
		if b := (store.Begun{At: g.PendingAt, GroupID: id}); len(g.Pending) > 0 && order(b, after) > 0 {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, order)
	return out[:min(len(out), limit)], s.f.read()
}

func (s groupsOf) UnfinishedOf(_ context.Context, u chat.UserID) ([]chat.GroupID, error) {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	var out []chat.GroupID
	for id, g := range s.db.groups {
		_, member := s.db.members[id][u]
		if len(g.Pending) > 0 && (member || slices.Contains(s.db.named[id], u)) {
			out = append(out, id)
		}
	}
	return out, s.f.read()
}

type membersOf struct {
	db *database
	f  *faults
}

func (s membersOf) list(g chat.GroupID, keep func(store.Member) bool) ([]store.Member, error) {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	s.db.reads++
	var out []store.Member
	for _, m := range s.db.members[g] {
		if keep(m) {
			out = append(out, copyOf(m))
		}
	}
	slices.SortFunc(out, func(a, b store.Member) int {
		return cmp.Or(cmp.Compare(b.Role, a.Role), a.JoinedAt.Compare(b.JoinedAt), cmp.Compare(a.UserID, b.UserID))
	})
	return out, s.f.read()
}

func (s membersOf) Get(_ context.Context, g chat.GroupID, users []chat.UserID) ([]store.Member, error) {
	return s.list(g, func(m store.Member) bool { return slices.Contains(users, m.UserID) })
}

func (s membersOf) Ever(_ context.Context, g chat.GroupID) ([]store.Member, error) {
	return s.list(g, func(store.Member) bool { return true })
}

func (s membersOf) Present(_ context.Context, g chat.GroupID, offset, limit int) ([]store.Member, error) {
	ms, err := s.list(g, store.Member.Present)
	ms = ms[min(offset, len(ms)):]
	return ms[:min(limit, len(ms))], err
}

func (s membersOf) PresentIDs(_ context.Context, g chat.GroupID) ([]chat.UserID, error) {
	ms, err := s.list(g, store.Member.Present)
	var ids []chat.UserID
	for _, m := range ms {
		ids = append(ids, m.UserID)
	}
	return ids, err
}

func (s membersOf) OfUser(_ context.Context, u chat.UserID) ([]store.Member, error) {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	var out []store.Member
	for _, rows := range s.db.members {
		if m, ok := rows[u]; ok {
			out = append(out, copyOf(m))
		}
	}
	slices.SortFunc(out, func(a, b store.Member) int { return cmp.Compare(a.GroupID, b.GroupID) })
	return out, s.f.read()
}

type cacheOf struct {
	faststate.Cache
	f *faults
}

// Drop is a step of a change if it drops a group; else it makes room for a value of another version.
func (c cacheOf) Drop(ctx context.Context, keys ...string) error {
	if !slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, "group/g/") }) {
		if err := c.f.read(); err != nil {
			return err
		}
		return c.Cache.Drop(ctx, keys...)
	}
	return c.f.write(func() error { return c.Cache.Drop(ctx, keys...) })
}

// fakeLog numbers entries as convlog does: repetitions get the first one's place, a stale permission is refused.
type fakeLog struct {
	mu      sync.Mutex
	entries map[string][]*messagev1.Entry
	notice  map[string]uint64
}

var errStale = errors.New("the permission is stale")

const anyPermit = ^uint64(0)

func (l *fakeLog) append(e *messagev1.Entry, permit uint64) (*messagev1.SendResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := e.GetConversationId()
	var ordinal uint64
	for _, old := range l.entries[c] {
		ordinal = old.GetOrdinal()
		if old.GetClientMsgId() == e.GetClientMsgId() && old.GetSenderId() == e.GetSenderId() {
			if !proto.Equal(old.GetNotice(), e.GetNotice()) {
				return nil, fault.New(fault.ClientMsgIDReused, "another body")
			}
			return &messagev1.SendResponse{Seq: old.GetSeq(), Ordinal: old.GetOrdinal(), SentAt: old.GetSentAt()}, nil
		}
	}
	if permit < l.notice[c] {
		return nil, errStale
	}
	e = proto.CloneOf(e)
	e.Seq, e.Ordinal = uint64(len(l.entries[c]))+1, ordinal
	e.SentAt = timestamppb.New(time.UnixMilli(1_700_000_000_000 + int64(e.Seq)))
	if e.GetNotice() != nil {
		l.notice[c] = e.GetSeq()
	} else {
		e.Ordinal++
	}
	l.entries[c] = append(l.entries[c], e)
	return &messagev1.SendResponse{Seq: e.GetSeq(), Ordinal: e.GetOrdinal(), SentAt: e.GetSentAt()}, nil
}

func (l *fakeLog) of(g string) []*messagev1.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries["g~"+g])
}

func (l *fakeLog) noticeSeq(g string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.notice["g~"+g]
}

// send appends a message of u under the permission, or says that it is stale.
func (l *fakeLog) send(g, u string, permit uint64) (uint64, error) {
	r, err := l.append(&messagev1.Entry{
		ConversationId: "g~" + g, SenderId: u, ClientMsgId: chat.NewID(), Kind: messagev1.EntryKind_ENTRY_KIND_TEXT,
	}, permit)
	return r.GetSeq(), err
}

type logOf struct {
	messagev1.UnimplementedMessageInternalServiceServer
	*fakeLog
	f *faults
}

func (l *logOf) Append(_ context.Context, req *messagev1.AppendRequest) (*messagev1.SendResponse, error) {
	l.f.mu.Lock()
	refusal := l.f.appendIs
	l.f.mu.Unlock()
	if refusal != nil {
		return nil, refusal
	}
	var r *messagev1.SendResponse
	err := l.f.write(func() (err error) { r, err = l.append(req.GetEntry(), anyPermit); return err })
	return r, err
}

func (l *logOf) GetHeads(_ context.Context, req *messagev1.GetHeadsRequest) (*messagev1.GetHeadsResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := &messagev1.GetHeadsResponse{}
	for _, c := range req.GetConversationIds() {
		out.Heads = append(out.Heads, &messagev1.TailHead{ConversationId: c, Seq: uint64(len(l.entries[c]))})
	}
	return out, nil
}

// fakeUsers knows who exists and who blocks whom.
type fakeUsers struct {
	userv1.UnimplementedUserInternalServiceServer
	mu     sync.Mutex
	known  map[string]bool
	blocks map[[2]string]bool // who, whom
}

func (f *fakeUsers) add(ids ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		f.known[id] = true
	}
}

func (f *fakeUsers) GetRelation(_ context.Context, req *userv1.GetRelationRequest) (*userv1.GetRelationResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &userv1.GetRelationResponse{
		TargetExists: f.known[req.GetTargetId()], ActorExists: f.known[req.GetActorId()],
		Blocked: f.blocks[[2]string{req.GetTargetId(), req.GetActorId()}],
	}, nil
}

func (f *fakeUsers) GetProfiles(_ context.Context, req *userv1.GetProfilesRequest) (*userv1.GetProfilesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &userv1.GetProfilesResponse{}
	for _, id := range req.GetUserIds() {
		if f.known[id] {
			out.Users = append(out.Users, &userv1.User{UserId: id, Username: id})
		}
	}
	return out, nil
}

// part is what a log says of one user.
type part struct {
	role  string
	spans [][2]uint64
}

// replay folds the notices of a group's log.
func replay(entries []*messagev1.Entry) map[string]part {
	parts := map[string]part{}
	leave := func(u string, seq uint64) {
		p := parts[u]
		p.spans = slices.Clone(p.spans)
		p.spans[len(p.spans)-1][1] = seq
		parts[u] = part{"", p.spans}
	}
	for _, e := range entries {
		n := e.GetNotice()
		switch n.GetType() {
		case messagev1.NoticeType_NOTICE_TYPE_GROUP_CREATED, messagev1.NoticeType_NOTICE_TYPE_MEMBER_JOINED:
			for i, u := range n.GetUserIds() {
				p := part{"member", append(slices.Clone(parts[u].spans), [2]uint64{e.GetSeq(), 0})}
				if i == 0 && e.GetSeq() == 1 {
					p.role = "owner"
				}
				parts[u] = p
			}
		case messagev1.NoticeType_NOTICE_TYPE_MEMBER_LEFT, messagev1.NoticeType_NOTICE_TYPE_MEMBER_REMOVED:
			for _, u := range n.GetUserIds() {
				leave(u, e.GetSeq())
			}
		case messagev1.NoticeType_NOTICE_TYPE_GROUP_DISSOLVED:
			for u, p := range parts {
				if p.role != "" {
					leave(u, e.GetSeq())
				}
			}
		case messagev1.NoticeType_NOTICE_TYPE_ROLE_CHANGED:
			u := n.GetUserIds()[0]
			if n.GetName() == "owner" {
				parts[n.GetActorId()] = part{"admin", parts[n.GetActorId()].spans}
			}
			parts[u] = part{n.GetName(), parts[u].spans}
		default:
		}
	}
	return parts
}

var roleWords = map[int32]string{0: "", 1: "member", 2: "admin", 3: "owner"}

// balance fails the test unless the database says exactly what the log says: each notice has had its effect once, and
// nothing else has happened (G2).
func (w *world) balance(t *testing.T, id string) {
	t.Helper()
	want := replay(w.log.of(id))
	w.db.mu.Lock()
	defer w.db.mu.Unlock()
	g := w.db.groups[chat.GroupID(id)]
	got := map[string]part{}
	present, owner := 0, ""
	for u, m := range w.db.members[chat.GroupID(id)] {
		p := part{role: roleWords[m.Role]}
		for _, sp := range m.Spans {
			p.spans = append(p.spans, [2]uint64{sp.From, sp.To})
		}
		got[string(u)] = p
		if m.Present() {
			present++
		}
		if m.Role == 3 {
			owner = string(u)
		}
	}
	if !maps.EqualFunc(got, want, func(a, b part) bool { return a.role == b.role && slices.Equal(a.spans, b.spans) }) {
		t.Errorf("members of %s = %v; want %v, as the log says", id, got, want)
	}
	if g.MemberCount != present || len(g.Pending) > 0 {
		t.Errorf("group %s counts %d members, pending %q; want %d, none", id, g.MemberCount, g.Pending, present)
	}
	if notice := w.log.noticeSeq(id); g.NoticeSeq != notice {
		t.Errorf("group %s has notice seq %d; want %d, the log's", id, g.NoticeSeq, notice)
	}
	if !g.Dissolved && present > 0 && owner != string(g.OwnerID) {
		t.Errorf("group %s has owner %q in the group and %q among its members", id, g.OwnerID, owner)
	}
}

// create makes a group of ann, the owner, bob, an admin, cyd and dan, members, and eve, who has left.
func (w *world) create(t *testing.T, s *instance) string {
	t.Helper()
	r, err := s.Create(as(t, "ann"), &groupv1.CreateRequest{Name: "G", MemberIds: []string{"bob", "cyd", "dan", "eve"}})
	if err != nil {
		t.Fatalf("Create = %v", err)
	}
	id := r.GetGroup().GetGroupId()
	_, err = s.UpdateMember(as(t, "ann"), &groupv1.UpdateMemberRequest{GroupId: id, UserId: "bob", Role: groupv1.Role_ROLE_ADMIN.Enum()})
	if err == nil {
		_, err = s.Leave(as(t, "eve"), &groupv1.LeaveRequest{GroupId: id})
	}
	if err != nil {
		t.Fatalf("prepare the group: %v", err)
	}
	return id
}

// notices returns the notices of a log as "type actor [users] name".
func (w *world) notices(id string) []string {
	var out []string
	for _, e := range w.log.of(id) {
		if n := e.GetNotice(); n != nil {
			out = append(out, fmt.Sprintf("%d %s %v %s", n.GetType(), n.GetActorId(), n.GetUserIds(), n.GetName()))
		}
	}
	return out
}

func reason(err error) fault.Reason { return fault.ReasonOf(err) }
