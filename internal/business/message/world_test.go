package message_test

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

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/business/message"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/convlog/convlogtest"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, backbonetest.ServerLeaks()...) }

// world is the service over a real log and database. What it asks of other services the fakes below answer.
type world struct {
	t        *testing.T
	stream   *convlogtest.Stream
	db       *sqlite.DB
	log      *convlog.Log
	pub      messagev1.MessageServiceClient
	internal messagev1.MessageInternalServiceClient
	users    *users
	groups   *groups
	query    *query
	signals  *signals
	sends    atomic.Int64
}

func newWorld(t *testing.T, settings ...string) *world {
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
	w := &world{
		t: t, db: db, stream: convlogtest.NewStream("a"), signals: &signals{},
		users: &users{blocks: map[string]bool{}}, groups: &groups{teams: map[string]*team{}}, query: &query{},
	}
	w.log = convlogtest.Open(t, db.Log(), w.stream)
	w.serve(settings...)
	return w
}

// serve begins the service with settings over the log and the database.
func (w *world) serve(settings ...string) {
	w.t.Helper()
	var cfg message.Config
	if _, err := config.Load(&cfg, config.Sources{Args: settings}); err != nil {
		w.t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	net := inproc.New(log)
	userv1.RegisterUserInternalServiceServer(net, w.users)
	groupv1.RegisterGroupInternalServiceServer(net, w.groups)
	queryv1.RegisterQueryServiceServer(net, w.query)
	message.New(cfg, message.Deps{Log: w.log, Cursors: w.db.Cursors(), Network: net, Publish: w.signals.publish}, log).Register(net)
	w.pub, w.internal = messagev1.NewMessageServiceClient(net), messagev1.NewMessageInternalServiceClient(net)
}

// restarted returns the world with another instance of the service, which has other settings.
func (w *world) restarted(settings ...string) *world {
	w.t.Helper()
	other := &world{t: w.t, stream: w.stream, db: w.db, log: w.log, users: w.users, groups: w.groups, query: w.query, signals: w.signals}
	other.serve(settings...)
	return other
}

// as returns a context that acts for a user on its connection "<user>-1".
func (w *world) as(u string) context.Context {
	return calls.WithIdentity(w.t.Context(), calls.Identity{UserID: chat.UserID(u), ConnectionID: chat.ConnectionID(u + "-1")})
}

// send sends a text of a user to a conversation.
func (w *world) send(u, c, text string) *messagev1.SendResponse {
	w.t.Helper()
	n := w.sends.Add(1)
	r, err := w.pub.Send(w.as(u), &messagev1.SendRequest{
		ClientMsgId: fmt.Sprint("m", n), ConversationId: c, Text: &messagev1.Text{Text: text},
	})
	if err != nil {
		w.t.Fatalf("Send by %s to %s = %v; want nil", u, c, err)
	}
	return r
}

// notice appends a notice to a group, as group does, and lets its answers know of it.
func (w *world) notice(g string) uint64 {
	w.t.Helper()
	n := w.sends.Add(1)
	r, err := w.internal.Append(w.t.Context(), &messagev1.AppendRequest{Entry: &messagev1.Entry{
		ConversationId: "g~" + g, SenderId: "ann", ClientMsgId: fmt.Sprint("n", n), Kind: messagev1.EntryKind_ENTRY_KIND_NOTICE,
		Body: &messagev1.Entry_Notice{Notice: &messagev1.Notice{Type: messagev1.NoticeType_NOTICE_TYPE_GROUP_CHANGED}},
	}})
	if err != nil {
		w.t.Fatalf("Append of a notice to %s = %v; want nil", g, err)
	}
	w.groups.edit(g, func(t *team) { t.asOf = r.GetSeq() })
	return r.GetSeq()
}

// entry returns what the log has at a seq.
func (w *world) entry(c string, seq uint64) *messagev1.Entry {
	w.t.Helper()
	tail, err := w.log.Tail(w.t.Context(), chat.ConversationID(c), seq, seq, 1, false)
	if err != nil || len(tail.Entries) != 1 {
		w.t.Fatalf("Tail(%s, %d) = %d entries, %v; want 1", c, seq, len(tail.Entries), err)
	}
	return tail.Entries[0]
}

// store stores all that the log has.
func (w *world) store() {
	w.t.Helper()
	info, err := w.stream.Info(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	convlogtest.Store(w.t, w.db.Log(), 0, w.stream, info.Last)
}

// wantReason checks an error; "" wants none.
func wantReason(t *testing.T, what string, err error, want fault.Reason) {
	t.Helper()
	if got := fault.ReasonOf(err); got != want {
		t.Errorf("%s = %v, reason %q; want %q", what, err, got, want)
	}
}

// users is the user service: everybody but "nobody" is there, and blocks holds "who>whom".
type users struct {
	userv1.UnimplementedUserInternalServiceServer

	mu     sync.Mutex
	blocks map[string]bool
	asked  int
}

func (u *users) GetRelation(_ context.Context, r *userv1.GetRelationRequest) (*userv1.GetRelationResponse, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked++
	a, b := r.GetActorId(), r.GetTargetId()
	return &userv1.GetRelationResponse{
		ActorExists: a != "nobody", TargetExists: b != "nobody", Blocked: u.blocks[b+">"+a], Blocks: u.blocks[a+">"+b],
		MayWrite: b != "nobody" && !u.blocks[b+">"+a],
	}, nil
}

func (u *users) block(who, whom string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.blocks[who+">"+whom] = true
}

// team is a group.
type team struct {
	members map[string]*groupv1.Membership
	asOf    uint64
	until   *timestamppb.Timestamp
}

// groups is the group service.
type groups struct {
	groupv1.UnimplementedGroupInternalServiceServer

	mu    sync.Mutex
	teams map[string]*team
	asked int
	// before runs ahead of an answer of MaySend, without the lock.
	before func(asked int)
	// overtaken runs when the service hears that an answer as of a seq was refused.
	overtaken func(asOf uint64)
}

// add makes a group whose members see all of it.
func (g *groups) add(id string, members ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := &team{members: map[string]*groupv1.Membership{}}
	for _, u := range members {
		t.members[u] = &groupv1.Membership{GroupId: id, Visible: []*userv1.SeqRange{{From: 1}}}
	}
	g.teams[id] = t
}

func (g *groups) edit(id string, change func(*team)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(g.teams[id])
}

func (g *groups) MaySend(_ context.Context, r *groupv1.MaySendRequest) (*groupv1.MaySendResponse, error) {
	g.mu.Lock()
	g.asked++
	n, before := g.asked, g.before
	t := g.teams[r.GetGroupId()]
	var out *groupv1.MaySendResponse
	err := error(fault.New(fault.NotFoundReason, "no such group"))
	if t != nil {
		switch m := t.members[r.GetUserId()]; {
		case m == nil:
		case m.GetVisible()[len(m.GetVisible())-1].GetTo() != 0:
			err = fault.New(fault.NotMember, "not a member any more")
		default:
			out, err = &groupv1.MaySendResponse{AsOfSeq: t.asOf, Until: t.until}, nil
		}
	}
	g.mu.Unlock()
	if before != nil {
		before(n)
	}
	return out, err
}

func (g *groups) Overtaken(_ context.Context, r *groupv1.OvertakenRequest) (*groupv1.OvertakenResponse, error) {
	if g.overtaken == nil {
		return nil, fault.New(fault.Overloaded, "not now")
	}
	g.overtaken(r.GetAsOfSeq())
	return &groupv1.OvertakenResponse{}, nil
}

func (g *groups) GetMembership(_ context.Context, r *groupv1.GetMembershipRequest) (*groupv1.GetMembershipResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.teams[r.GetGroupId()]; t != nil && t.members[r.GetUserId()] != nil {
		return &groupv1.GetMembershipResponse{Membership: proto.CloneOf(t.members[r.GetUserId()])}, nil
	}
	return nil, fault.New(fault.NotFoundReason, "no such group")
}

func (g *groups) GetMemberSet(_ context.Context, r *groupv1.GetMemberSetRequest) (*groupv1.GetMemberSetResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := &groupv1.GetMemberSetResponse{}
	for u := range g.teams[r.GetGroupId()].members {
		out.UserIds = append(out.UserIds, u)
	}
	return out, nil
}

// query is the query service; it answers with the conversation's id.
type query struct {
	queryv1.UnimplementedQueryServiceServer
	err error
}

func (q *query) GetConversation(_ context.Context, r *queryv1.GetConversationRequest) (*queryv1.ConversationResponse, error) {
	return &queryv1.ConversationResponse{Conversation: &queryv1.Conversation{ConversationId: r.GetConversationId()}}, q.err
}

// signals keeps what was published.
type signals struct {
	mu  sync.Mutex
	got []*flowv1.Signal
	err error
}

func (s *signals) publish(subject string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sig flowv1.Signal
	if err := proto.Unmarshal(data, &sig); err != nil || subject != message.SignalSubject || sig.GetSchema() != 1 {
		return errors.Join(err, fmt.Errorf("signal of schema %d on %s", sig.GetSchema(), subject))
	}
	s.got = append(s.got, &sig)
	return s.err
}

// take returns what was published since the last call.
func (s *signals) take() []*flowv1.Signal {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			t.Fatalf("still not: %s", what)
		case <-tick.C:
		}
	}
}

// fields returns the names of the fields that an error names.
func fields(err error) []string {
	var names []string
	if err != nil {
		for _, f := range fault.Of(err).Fields {
			names = append(names, f.Field)
		}
	}
	return names
}
