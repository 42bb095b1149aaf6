package query_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
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
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/convlog/convlogtest"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
	"github.com/oceanchat/oceanchat/internal/support/query"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const partitions = 2

// world is the service over a real log and database. Entries are put into the log as if another appender had written
// them, and stored when the test says so.
type world struct {
	t        *testing.T
	db       *sqlite.DB
	reader   *replaced
	streams  []*convlogtest.Stream
	messages *messages
	users    *users
	groups   *groups
	query    queryv1.QueryServiceClient

	log  map[chat.ConversationID][]*messagev1.Entry // all there is
	wait [partitions][]*flowv1.LogEntry             // not yet in a stream
	now  time.Time                                  // of the next entry
}

func newWorld(t *testing.T) *world {
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
		t: t, db: db, users: &users{withheld: map[string][]*userv1.SeqRange{}, gone: map[string]bool{}},
		groups: &groups{members: map[string]*groupv1.Membership{}}, log: map[chat.ConversationID][]*messagev1.Entry{},
		now: time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond),
	}
	w.reader = &replaced{Reader: db.Reader()}
	var streams []backbone.Log
	for range partitions {
		s := convlogtest.NewStream("a")
		w.streams, streams = append(w.streams, s), append(streams, s)
	}
	w.messages = &messages{log: convlogtest.Open(t, db.Log(), streams...)}
	log := slog.New(slog.DiscardHandler)
	net := inproc.New(log)
	messagev1.RegisterMessageInternalServiceServer(net, w.messages)
	userv1.RegisterUserInternalServiceServer(net, w.users)
	groupv1.RegisterGroupInternalServiceServer(net, w.groups)
	query.New(w.reader, net, log).Register(net)
	w.query = queryv1.NewQueryServiceClient(net)
	return w
}

// as returns a context that acts for a user.
func (w *world) as(u string) context.Context {
	return calls.WithIdentity(w.t.Context(), calls.Identity{UserID: chat.UserID(u)})
}

// add gives a text, or a notice if there is none, its place; flush brings it into the log.
func (w *world) add(c chat.ConversationID, sender, text string, mentions ...string) *messagev1.Entry {
	n := uint64(len(w.log[c]))
	e := &messagev1.Entry{
		ConversationId: string(c), Seq: n + 1, SenderId: sender, ClientMsgId: fmt.Sprint("m", n), SentAt: timestamppb.New(w.now),
		MessageId: string(chat.NewMessageID(n, n+1)), Kind: messagev1.EntryKind_ENTRY_KIND_NOTICE,
		Body: &messagev1.Entry_Notice{Notice: &messagev1.Notice{Type: messagev1.NoticeType_NOTICE_TYPE_GROUP_CHANGED}},
	}
	if text != "" {
		body := &messagev1.Text{Text: text}
		for _, u := range mentions {
			body.Mentions = append(body.Mentions, &messagev1.Mention{UserId: u, Length: 1})
		}
		e.Kind, e.Body = messagev1.EntryKind_ENTRY_KIND_TEXT, &messagev1.Entry_Text{Text: body}
	}
	if n > 0 {
		e.Ordinal = w.log[c][n-1].GetOrdinal()
	}
	if convlog.Raises(e) {
		e.Ordinal++
	}
	w.log[c] = append(w.log[c], e)
	p := c.Partition(partitions)
	w.wait[p] = append(w.wait[p], &flowv1.LogEntry{Entry: e, BodyHash: convlog.BodyHash(e)})
	return e
}

// flush commits a partition's waiting entries as one batch.
func (w *world) flush(p int) {
	w.t.Helper()
	if len(w.wait[p]) == 0 {
		return
	}
	info, err := w.streams[p].Info(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	data, err := convlog.EncodeBatch(convlog.BatchID{byte(info.Last), byte(info.Last >> 8), byte(p)}, w.wait[p])
	if err != nil {
		w.t.Fatal(err)
	}
	w.streams[p].Put(data, time.Now())
	w.wait[p] = nil
}

// say commits one text, a second after the last one.
func (w *world) say(c chat.ConversationID, sender, text string, mentions ...string) *messagev1.Entry {
	w.t.Helper()
	w.now = w.now.Add(time.Second)
	e := w.add(c, sender, text, mentions...)
	w.flush(c.Partition(partitions))
	return e
}

// store stores a partition up to a position, or all of it.
func (w *world) store(p int, upTo uint64) {
	w.t.Helper()
	mark, err := w.db.Log().Mark(context.Background(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	info, err := w.streams[p].Info(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	if upTo = min(upTo, info.Last); upTo > mark.Position {
		convlogtest.Store(w.t, w.db.Log(), p, w.streams[p], upTo)
	}
}

func (w *world) storeAll() {
	w.t.Helper()
	for p := range partitions {
		w.store(p, math.MaxUint64)
	}
}

// read moves a user's cursor to an entry.
func (w *world) read(u string, c chat.ConversationID, seq uint64) {
	w.t.Helper()
	to := store.Cursor{Seq: seq, Ordinal: w.log[c][seq-1].GetOrdinal()}
	if _, _, err := w.db.Cursors().Advance(w.t.Context(), c, chat.UserID(u), to, time.Now()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) list(u string) []*queryv1.Conversation {
	w.t.Helper()
	r, err := w.query.ListConversations(w.as(u), &queryv1.ListConversationsRequest{PageSize: proto.Int32(100)})
	if err != nil {
		w.t.Fatalf("ListConversations of %s = %v; want nil", u, err)
	}
	return r.GetConversations()
}

func (w *world) get(u string, c chat.ConversationID) *queryv1.Conversation {
	w.t.Helper()
	r, err := w.query.GetConversation(w.as(u), &queryv1.GetConversationRequest{ConversationId: string(c)})
	if err != nil {
		w.t.Fatalf("GetConversation(%s) of %s = %v; want nil", c, u, err)
	}
	return r.GetConversation()
}

func (w *world) sync(u, token, page string) *queryv1.SyncResponse {
	w.t.Helper()
	r, err := w.query.Sync(w.as(u), &queryv1.SyncRequest{SyncToken: token, PageToken: page})
	if err != nil {
		w.t.Fatalf("Sync(%q) of %s = %v; want nil", token, u, err)
	}
	return r
}

// ids returns the ids of conversations, in order.
func ids(cs []*queryv1.Conversation) []string {
	out := []string{}
	for _, c := range cs {
		out = append(out, c.GetConversationId())
	}
	return out
}

// wantReason checks an error; "" wants none.
func wantReason(t *testing.T, what string, err error, want fault.Reason) {
	t.Helper()
	if got := fault.ReasonOf(err); got != want {
		t.Errorf("%s = %v, reason %q; want %q", what, err, got, want)
	}
}

// messages is the message service's reading side. afterTail runs behind each answer about the tail, before its asker
// goes on: what happens between the tiers.
type messages struct {
	messagev1.UnimplementedMessageInternalServiceServer
	log       *convlog.Log
	afterTail func()
	positions *messagev1.GetPositionsResponse
	begins    uint64 // where tails begin, at the earliest
}

func (m *messages) hook() {
	if m.afterTail != nil {
		m.afterTail()
	}
}

func (m *messages) GetHeads(ctx context.Context, r *messagev1.GetHeadsRequest) (*messagev1.GetHeadsResponse, error) {
	defer m.hook()
	var cs []chat.ConversationID
	for _, c := range r.GetConversationIds() {
		cs = append(cs, chat.ConversationID(c))
	}
	heads, err := m.log.Heads(ctx, chat.UserID(r.GetUserId()), cs, r.GetAllDirect())
	out := &messagev1.GetHeadsResponse{}
	for _, h := range heads {
		out.Heads = append(out.Heads, &messagev1.TailHead{
			ConversationId: string(h.Conversation), Seq: h.Seq, Ordinal: h.Ordinal, Position: h.Position,
			SentAt: timestamppb.New(time.UnixMilli(h.SentAt)), OwnSeq: h.Own.Seq, OwnOrdinal: h.Own.Ordinal, MentionSeqs: h.Mentions,
		})
	}
	return out, err
}

func (m *messages) ReadTail(ctx context.Context, r *messagev1.ReadTailRequest) (*messagev1.ReadTailResponse, error) {
	defer m.hook()
	if r.GetLimit() == 0 || r.GetLimit() > 200 {
		return nil, fmt.Errorf("ReadTail with limit %d", r.GetLimit())
	}
	from := max(r.GetFromSeq(), m.begins)
	t, err := m.log.Tail(ctx, chat.ConversationID(r.GetConversationId()), from, r.GetToSeq(), int(r.GetLimit()), r.GetNewest())
	return &messagev1.ReadTailResponse{Entries: t.Entries, HeadSeq: t.Head, TailFrom: max(t.From, m.begins)}, err
}

func (m *messages) GetPositions(ctx context.Context, _ *messagev1.GetPositionsRequest) (*messagev1.GetPositionsResponse, error) {
	if m.positions != nil {
		return m.positions, nil
	}
	epoch, positions, err := m.log.Positions(ctx)
	return &messagev1.GetPositionsResponse{Epoch: epoch, Positions: positions}, err
}

// replaced is the database, which may be away, or a primary that was replaced and knows only of what was before.
type replaced struct {
	store.Reader
	away   atomic.Bool
	hangs  atomic.Bool
	behind atomic.Uint64 // the last seq that it knows, if not 0

	deleted bool          // all entries are
	extra   []store.Entry // behind all others
}

var errAway = errors.New("the database is away")

func (r *replaced) state(ctx context.Context) error {
	if r.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	if r.away.Load() {
		return errAway
	}
	return nil
}

func (r *replaced) Range(ctx context.Context, c chat.ConversationID, from, to uint64, limit int, newest bool) ([]store.Entry, error) {
	if err := r.state(ctx); err != nil {
		return nil, err
	}
	if last := r.behind.Load(); last != 0 {
		to = min(to, last)
	}
	if r.deleted {
		return nil, nil
	}
	es, err := r.Reader.Range(ctx, c, from, to, limit, newest)
	return append(es, r.extra...), err
}

func (r *replaced) Heads(ctx context.Context, cs []chat.ConversationID) ([]store.Head, error) {
	if err := r.state(ctx); err != nil {
		return nil, err
	}
	hs, err := r.Reader.Heads(ctx, cs)
	for i := range hs {
		if last := r.behind.Load(); last != 0 {
			hs[i].Seq = min(hs[i].Seq, last)
		}
	}
	return hs, err
}

// users is the user service: everybody is there but who is gone, and withheld["bob>ann"] is what ann withholds of bob's.
type users struct {
	userv1.UnimplementedUserInternalServiceServer
	withheld map[string][]*userv1.SeqRange
	gone     map[string]bool
}

func (u *users) GetRelation(_ context.Context, r *userv1.GetRelationRequest) (*userv1.GetRelationResponse, error) {
	return &userv1.GetRelationResponse{
		ActorExists: !u.gone[r.GetActorId()], TargetExists: !u.gone[r.GetTargetId()], MayWrite: true,
		Withheld: u.withheld[r.GetActorId()+">"+r.GetTargetId()],
	}, nil
}

func (u *users) GetProfiles(_ context.Context, r *userv1.GetProfilesRequest) (*userv1.GetProfilesResponse, error) {
	out := &userv1.GetProfilesResponse{}
	for _, id := range r.GetUserIds() {
		if !u.gone[id] {
			out.Users = append(out.Users, &userv1.User{UserId: id, Nickname: "Nick " + id, Avatar: id + ".png"})
		}
	}
	return out, nil
}

// groups is the group service; memberships are kept as "team/ann".
type groups struct {
	groupv1.UnimplementedGroupInternalServiceServer
	members map[string]*groupv1.Membership
	// afterList runs behind each answer of ListMemberships.
	afterList func()
}

func span(from, to uint64) *userv1.SeqRange { return &userv1.SeqRange{From: from, To: to} }

// see makes a user a member with these stays.
func (w *world) see(group, u string, stays ...*userv1.SeqRange) *groupv1.Membership {
	m := &groupv1.Membership{GroupId: group, Name: "The " + group, Avatar: group + ".png", Visible: stays}
	last := stays[len(stays)-1]
	log := w.log[chat.ConversationID("g~"+group)]
	if m.JoinSeq = last.GetFrom(); int(last.GetFrom()) <= len(log) {
		m.JoinOrdinal = log[last.GetFrom()-1].GetOrdinal()
	}
	if last.GetTo() != 0 {
		m.LeaveOrdinal, m.LeftAt = log[last.GetTo()-1].GetOrdinal(), log[last.GetTo()-1].GetSentAt()
	}
	w.groups.members[group+"/"+u] = m
	return m
}

func (g *groups) GetMembership(_ context.Context, r *groupv1.GetMembershipRequest) (*groupv1.GetMembershipResponse, error) {
	m := g.members[r.GetGroupId()+"/"+r.GetUserId()]
	if m == nil {
		return nil, fault.New(fault.NotFoundReason, "no such group")
	}
	return &groupv1.GetMembershipResponse{Membership: m}, nil
}

func (g *groups) ListMemberships(_ context.Context, r *groupv1.ListMembershipsRequest) (*groupv1.ListMembershipsResponse, error) {
	out := &groupv1.ListMembershipsResponse{}
	for key, m := range g.members {
		if key == m.GetGroupId()+"/"+r.GetUserId() {
			out.Memberships = append(out.Memberships, proto.CloneOf(m))
		}
	}
	slices.SortFunc(out.Memberships, func(a, b *groupv1.Membership) int { return len(a.GetGroupId()) - len(b.GetGroupId()) })
	if g.afterList != nil {
		g.afterList()
	}
	return out, nil
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
