package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/delivery/orchestrator"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is what orchestrator sees of the others.
type world struct {
	userv1.UnimplementedUserInternalServiceServer
	groupv1.UnimplementedGroupInternalServiceServer
	presencev1.UnimplementedPresenceInternalServiceServer

	mu       sync.Mutex                    // guards what follows
	online   map[string][]string           // user: connections "gateway/connection"
	withheld map[string][]*userv1.SeqRange // "actor>target"
	notices  map[string][]*messagev1.Entry // of a group, ascending
	broken   map[string]int                // method: how often it still fails
	asked    map[string]int

	journey *journey.Recorder
}

func newWorld() *world {
	return &world{
		online: map[string][]string{}, withheld: map[string][]*userv1.SeqRange{},
		notices: map[string][]*messagev1.Entry{}, broken: map[string]int{}, asked: map[string]int{},
		journey: journey.New(journey.Config{Events: 1 << 20}, "p"),
	}
}

func (w *world) network() *inproc.Network {
	n := inproc.New(slog.New(slog.DiscardHandler))
	userv1.RegisterUserInternalServiceServer(n, w)
	groupv1.RegisterGroupInternalServiceServer(n, w)
	presencev1.RegisterPresenceInternalServiceServer(n, w)
	return n
}

func (w *world) call(method string) error {
	w.asked[method]++
	if w.broken[method] > 0 {
		w.broken[method]--
		return fault.New(fault.Overloaded, "%s is broken", method)
	}
	return nil
}

func (w *world) Lookup(_ context.Context, r *presencev1.LookupRequest) (*presencev1.LookupResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := &presencev1.LookupResponse{}
	for _, u := range r.GetUserIds() {
		for _, at := range w.online[u] {
			gw, id, _ := strings.Cut(at, "/")
			a.Connections = append(a.Connections, &presencev1.Connection{
				UserId: u, DeviceId: "d-" + id, GatewayId: gw, ConnectionId: id, SessionId: "s", Since: timestamppb.Now(),
			})
		}
	}
	return a, w.call("lookup")
}

func (w *world) GetRelation(_ context.Context, r *userv1.GetRelationRequest) (*userv1.GetRelationResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &userv1.GetRelationResponse{Withheld: w.withheld[r.GetActorId()+">"+r.GetTargetId()]}, w.call("relation")
}

// GetMemberSet answers from all notices of the group, also those that the reader has not come to.
func (w *world) GetMemberSet(_ context.Context, r *groupv1.GetMemberSetRequest) (*groupv1.GetMemberSetResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list, ok := w.notices[r.GetGroupId()]
	if !ok {
		return nil, fault.New(fault.NotFoundReason, "no such group")
	}
	a := &groupv1.GetMemberSetResponse{UserIds: membersAt(list, r.GetAtSeq()), AsOfSeq: list[len(list)-1].GetSeq()}
	return a, w.call("members")
}

// membersAt is the rule in its plainest form: both ends of a membership belong to it.
func membersAt(notices []*messagev1.Entry, seq uint64) []string {
	type stay struct{ from, to uint64 }
	stays := map[string][]stay{}
	end := func(u string, at uint64) {
		if s := stays[u]; len(s) > 0 && s[len(s)-1].to == 0 {
			s[len(s)-1].to = at
		}
	}
	for _, e := range notices {
		switch n := e.GetNotice(); n.GetType() {
		case messagev1.NoticeType_NOTICE_TYPE_GROUP_CREATED, messagev1.NoticeType_NOTICE_TYPE_MEMBER_JOINED:
			for _, u := range n.GetUserIds() {
				stays[u] = append(stays[u], stay{from: e.GetSeq()})
			}
		case messagev1.NoticeType_NOTICE_TYPE_GROUP_DISSOLVED:
			for u := range stays {
				end(u, e.GetSeq())
			}
		default:
			for _, u := range n.GetUserIds() {
				end(u, e.GetSeq())
			}
		}
	}
	var out []string
	for u, list := range stays {
		if slices.ContainsFunc(list, func(s stay) bool { return s.from <= seq && (s.to == 0 || seq <= s.to) }) {
			out = append(out, u)
		}
	}
	slices.Sort(out)
	return out
}

// streams is a backbone of one scripted log, and queues that remember.
type streams struct {
	runs    [][]backbone.Message // what the reader gets, repeats and all
	logs    []string             // the incarnation of the log at each run; "inc" where it is short
	mu      sync.Mutex           // guards what follows
	online  []published
	offline []published
	broken  int        // publishes that still fail
	flaky   *rand.Rand // when set, every third publish or so fails
	handled int
	again   int // runs that were tried again
}

type published struct {
	topic, id string
	data      []byte
}

func (s *streams) Log(context.Context, int) (backbone.Log, error) { return scripted{s: s}, nil }

func (s *streams) Queue(_ context.Context, name backbone.QueueName) (backbone.Queue, error) {
	if name == backbone.PushOnline {
		return &queue{s, &s.online}, nil
	}
	return &queue{s, &s.offline}, nil
}

type scripted struct {
	backbone.Log
	s *streams
}

func (l scripted) Info(context.Context) (backbone.LogInfo, error) {
	if l.s.handled < len(l.s.logs) {
		return backbone.LogInfo{Incarnation: l.s.logs[l.s.handled]}, nil
	}
	return backbone.LogInfo{Incarnation: "inc"}, nil
}

func (l scripted) Follow(ctx context.Context, r backbone.Reader) error {
	for _, run := range l.s.runs {
		for try := 1; r.Handle(ctx, run) != nil; try++ {
			if try > 50 {
				return errors.New("the run never succeeds")
			}
			l.s.again++
		}
		l.s.handled++
	}
	return nil
}

type queue struct {
	s    *streams
	list *[]published
}

func (q *queue) Publish(_ context.Context, topic, id string, data []byte) error {
	q.s.mu.Lock()
	defer q.s.mu.Unlock()
	if q.s.broken > 0 {
		q.s.broken--
		return errors.New("no answer")
	}
	if q.s.flaky != nil && q.s.flaky.IntN(3) == 0 {
		return errors.New("no answer now")
	}
	if !slices.ContainsFunc(*q.list, func(p published) bool { return p.id == id }) {
		*q.list = append(*q.list, published{topic, id, data})
	}
	return nil
}

func (q *queue) Consume(context.Context, backbone.Consumer) error { return nil }

// batch is the message at a position of the log.
func batch(t *testing.T, position uint64, entries ...*messagev1.Entry) backbone.Message {
	t.Helper()
	list := make([]*flowv1.LogEntry, len(entries))
	for i, e := range entries {
		list[i] = &flowv1.LogEntry{Entry: e}
	}
	data, err := convlog.EncodeBatch(convlog.BatchID{byte(position)}, list)
	if err != nil {
		t.Fatal(err)
	}
	return backbone.Message{Seq: position, Data: data}
}

func text(c string, seq uint64, sender string) *messagev1.Entry {
	return &messagev1.Entry{
		ConversationId: c, Seq: seq, Ordinal: seq, SenderId: sender, MessageId: fmt.Sprintf("m%d", seq),
		Kind: messagev1.EntryKind_ENTRY_KIND_TEXT, SentAt: timestamppb.New(time.Unix(1e9, 0)),
		Body: &messagev1.Entry_Text{Text: &messagev1.Text{Text: "hello"}},
	}
}

func notice(c string, seq uint64, kind messagev1.NoticeType, users ...string) *messagev1.Entry {
	return &messagev1.Entry{
		ConversationId: c, Seq: seq, SenderId: "admin", Kind: messagev1.EntryKind_ENTRY_KIND_NOTICE,
		Body: &messagev1.Entry_Notice{Notice: &messagev1.Notice{Type: kind, UserIds: users}},
	}
}

// run lets a service work off the streams' runs and returns it done.
func run(t *testing.T, w *world, s *streams) *prometheus.Registry {
	t.Helper()
	reg := prometheus.NewRegistry()
	svc := orchestrator.New(config(), orchestrator.Deps{Backbone: s, Partitions: 1, Network: w.network(), Journey: w.journey},
		slog.New(slog.DiscardHandler), reg)
	if err := svc.Run(t.Context(), func() {}); err != nil {
		t.Fatalf("Run = %v; want nil", err)
	}
	return reg
}

func config() orchestrator.Config {
	return orchestrator.Config{MemberIDs: 1000, Run: 8, CallTimeout: 5 * time.Second, PublishTimeout: 5 * time.Second}
}

// pushed returns what went to gateways, per task: "topic: seq>connection seq>connection(hidden)".
func (s *streams) pushed(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, p := range s.online {
		task := &flowv1.OnlineTask{}
		if err := proto.Unmarshal(p.data, task); err != nil {
			t.Fatal(err)
		}
		var line strings.Builder
		line.WriteString(p.topic + ":")
		for _, i := range task.GetItems() {
			e := &messagev1.Entry{}
			if err := proto.Unmarshal(i.GetEntry(), e); err != nil {
				t.Fatal(err)
			}
			for _, c := range i.GetTo() {
				fmt.Fprintf(&line, " %d>%s", e.GetSeq(), c.GetConnectionId())
				if e.GetKind() == messagev1.EntryKind_ENTRY_KIND_HIDDEN {
					line.WriteString("(hidden)")
				}
			}
		}
		out = append(out, line.String())
	}
	slices.Sort(out)
	return out
}

// missed returns what went to pusher-offline: "seq>user".
func (s *streams) missed(t *testing.T) []string {
	t.Helper()
	out := []string{}
	for _, p := range s.offline {
		task := &flowv1.OfflineTask{}
		if err := proto.Unmarshal(p.data, task); err != nil {
			t.Fatal(err)
		}
		for _, i := range task.GetItems() {
			for _, u := range i.GetUserIds() {
				out = append(out, fmt.Sprintf("%d>%s", i.GetEntry().GetSeq(), u))
			}
		}
	}
	return out
}
