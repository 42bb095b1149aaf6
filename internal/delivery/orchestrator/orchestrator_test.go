package orchestrator_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/delivery/orchestrator"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

const (
	created   = messagev1.NoticeType_NOTICE_TYPE_GROUP_CREATED
	joined    = messagev1.NoticeType_NOTICE_TYPE_MEMBER_JOINED
	left      = messagev1.NoticeType_NOTICE_TYPE_MEMBER_LEFT
	removed   = messagev1.NoticeType_NOTICE_TYPE_MEMBER_REMOVED
	renamed   = messagev1.NoticeType_NOTICE_TYPE_GROUP_CHANGED
	announced = messagev1.NoticeType_NOTICE_TYPE_ANNOUNCEMENT
	dissolved = messagev1.NoticeType_NOTICE_TYPE_GROUP_DISSOLVED
)

// ORCH-1, ORCH-2, ORCH-3: a batch becomes one task per gateway and one for those who are not on line.
func TestTasks(t *testing.T) {
	t.Parallel()
	ring := &messagev1.Entry{ConversationId: "i~bob", Seq: 4, Ordinal: 4, SenderId: "ann", Kind: messagev1.EntryKind_ENTRY_KIND_FRIEND_REQUEST}
	tests := []struct {
		name     string
		online   map[string][]string
		withheld map[string][]*userv1.SeqRange
		notices  []*messagev1.Entry // of group g~g
		entries  []*messagev1.Entry
		pushed   []string
		missed   []string
	}{
		{
			name:    "to all devices of both, the sender's too",
			online:  map[string][]string{"ann": {"gw1/a1", "gw2/a2"}, "bob": {"gw2/b1"}},
			entries: []*messagev1.Entry{text("d~ann~bob", 1, "ann"), text("d~ann~bob", 2, "bob")},
			pushed:  []string{"gw1: 1>a1 2>a1", "gw2: 1>a2 1>b1 2>a2 2>b1"},
			missed:  []string{},
		},
		{
			name:    "whoever is away gets an offline push, but not of what is their own",
			entries: []*messagev1.Entry{text("d~ann~bob", 1, "ann"), text("d~ann~bob", 2, "bob")},
			missed:  []string{"1>bob", "2>ann"},
		},
		{
			name:    "an inbox is its owner's",
			online:  map[string][]string{"ann": {"gw1/a1"}},
			entries: []*messagev1.Entry{ring},
			missed:  []string{"4>bob"},
		},
		{
			name:    "a group of one on line and one away", // the walk of SYSTEM.md
			online:  map[string][]string{"ann": {"gw1/a1"}, "bob": {"gw2/b1"}},
			notices: []*messagev1.Entry{notice("g~g", 1, created, "ann", "bob", "cid")},
			entries: []*messagev1.Entry{text("g~g", 2, "ann")},
			pushed:  []string{"gw1: 2>a1", "gw2: 2>b1"},
			missed:  []string{"2>cid"},
		},
		{
			name:    "what does not raise the unread number rings nowhere",
			notices: []*messagev1.Entry{notice("g~g", 1, created, "ann", "bob")},
			entries: []*messagev1.Entry{notice("g~g", 1, created, "ann", "bob"), notice("g~g", 2, renamed), notice("g~g", 3, announced)},
			missed:  []string{"3>ann", "3>bob"},
		},
		{
			name:     "a blocked sender's message is withheld from the recipient alone", // invariant 4
			online:   map[string][]string{"ann": {"gw1/a1"}, "bob": {"gw1/b1"}},
			withheld: map[string][]*userv1.SeqRange{"ann>bob": {{From: 2, To: 2}, {From: 4}}},
			entries: []*messagev1.Entry{
				text("d~ann~bob", 1, "ann"), text("d~ann~bob", 2, "ann"), text("d~ann~bob", 3, "ann"), text("d~ann~bob", 9, "ann"),
				text("d~ann~bob", 10, "bob"),
			},
			pushed: []string{"gw1: 1>a1 1>b1 2>a1 2>b1(hidden) 3>a1 3>b1 9>a1 9>b1(hidden) 10>a1 10>b1"},
			missed: []string{},
		},
		{
			name:     "nor does it ring", // invariant 4
			withheld: map[string][]*userv1.SeqRange{"ann>bob": {{From: 1}}},
			entries:  []*messagev1.Entry{text("d~ann~bob", 1, "ann")},
			missed:   []string{},
		},
		{
			name:    "a group that nobody knows",
			entries: []*messagev1.Entry{text("g~gone", 7, "ann")},
			missed:  []string{},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, s := newWorld(), &streams{}
			w.online, w.withheld = tt.online, tt.withheld
			if tt.notices != nil {
				w.notices["g"] = tt.notices
			}
			s.runs = [][]backbone.Message{{batch(t, 1, tt.entries...)}}
			run(t, w, s)
			if diff := cmp.Diff(tt.pushed, s.pushed(t)); diff != "" {
				t.Errorf("tasks for gateways (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.missed, s.missed(t)); diff != "" {
				t.Errorf("offline tasks (-want +got):\n%s", diff)
			}
			if some := len(tt.pushed)+len(tt.missed) > 0; some && w.asked["lookup"] != 1 {
				t.Errorf("presence was asked %d times; want once for the run", w.asked["lookup"])
			}
		})
	}
}

// Invariant 10: an entry of a kind and with fields that this version does not know is delivered as it is, on line and off.
func TestLaterEntry(t *testing.T) {
	t.Parallel()
	w, s := newWorld(), &streams{}
	w.online = map[string][]string{"ann": {"gw1/a1"}}
	want := text("d~ann~bob", 3, "ann")
	want.Kind, want.Body = 4242, nil
	want.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 4243, protowire.BytesType), "later"))
	s.runs = [][]backbone.Message{{batch(t, 1, want)}}
	run(t, w, s)
	if len(s.online) != 1 || len(s.offline) != 1 {
		t.Fatalf("%d tasks on line, %d off; want 1 each", len(s.online), len(s.offline))
	}
	on, off, got := &flowv1.OnlineTask{}, &flowv1.OfflineTask{}, &messagev1.Entry{}
	if err := errors.Join(proto.Unmarshal(s.online[0].data, on), proto.Unmarshal(s.offline[0].data, off)); err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(on.GetItems()[0].GetEntry(), got); err != nil || !proto.Equal(got, want) {
		t.Errorf("on line = %v, %v; want %v", got, err, want)
	}
	if got := off.GetItems()[0].GetEntry(); !proto.Equal(got, want) {
		t.Errorf("off line = %v; want %v", got, want)
	}
}

// Nothing of a withheld message but its place leaves the service.
func TestHiddenHasNoBody(t *testing.T) {
	t.Parallel()
	w, s := newWorld(), &streams{}
	w.online = map[string][]string{"bob": {"gw1/b1"}}
	w.withheld = map[string][]*userv1.SeqRange{"ann>bob": {{From: 1}}}
	s.runs = [][]backbone.Message{{batch(t, 1, text("d~ann~bob", 3, "ann"))}}
	run(t, w, s)
	task, got := &flowv1.OnlineTask{}, &messagev1.Entry{}
	if err := proto.Unmarshal(s.online[0].data, task); err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(task.GetItems()[0].GetEntry(), got); err != nil {
		t.Fatal(err)
	}
	want := &messagev1.Entry{ConversationId: "d~ann~bob", Seq: 3, Ordinal: 3, Kind: messagev1.EntryKind_ENTRY_KIND_HIDDEN}
	if !proto.Equal(got, want) {
		t.Errorf("entry = %v; want %v", got, want)
	}
}

// Invariant 4: whoever gets an entry was a member at its seq, both ends of the membership included, whatever group
// knows already, however often the reader is set back or its run fails.
func TestMembersAtSeq(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 1))
			w, s := newWorld(), &streams{}
			want := map[uint64][]string{} // by position
			var log []backbone.Message
			seqs := map[string]uint64{}
			for position := uint64(1); position <= 120; position++ {
				g := []string{"g1", "g2", "g3"}[rnd.IntN(3)]
				seqs[g]++
				e := randomEntry(rnd, w, g, seqs[g])
				log = append(log, batch(t, position, e))
				want[position] = nil
			}
			for i := range log { // everything is in the log before the first entry is read
				e := entryOf(t, log[i])
				g := strings.TrimPrefix(e.GetConversationId(), "g~")
				want[log[i].Seq] = membersAt(w.notices[g], e.GetSeq())
			}
			for i := 0; i < len(log); {
				n := min(1+rnd.IntN(5), len(log)-i)
				s.runs = append(s.runs, log[i:i+n])
				i += n
				if rnd.IntN(4) == 0 {
					i = max(0, i-rnd.IntN(20)) // set back
				}
				if rnd.IntN(10) == 0 {
					i = min(len(log), i+rnd.IntN(6)) // another instance read on
				}
			}
			for _, u := range users {
				w.online[u] = []string{"gw1/" + u}
			}
			w.broken["members"], w.broken["lookup"], s.flaky = 3, 3, rnd
			run(t, w, s)
			checkRecipients(t, s, log, want)
		})
	}
}

var users = []string{"u0", "u1", "u2", "u3", "u4", "u5"}

// randomEntry makes the next entry of a group and tells the world of a notice.
func randomEntry(rnd *rand.Rand, w *world, g string, seq uint64) *messagev1.Entry {
	c := "g~" + g
	var e *messagev1.Entry
	kind := []messagev1.NoticeType{0, 0, 0, joined, joined, left, removed, renamed}[rnd.IntN(8)]
	now := membersAt(w.notices[g], 1<<60)
	pick := users[rnd.IntN(len(users))]
	switch {
	case seq == 1:
		e = notice(c, seq, created, users[:1+rnd.IntN(3)]...)
	case kind == joined && !slices.Contains(now, pick), kind == removed && slices.Contains(now, pick), kind == left && slices.Contains(now, pick):
		e = notice(c, seq, kind, pick)
	case kind == renamed:
		e = notice(c, seq, kind)
	default:
		return text(c, seq, "admin")
	}
	if e.GetNotice().GetType() != renamed {
		w.notices[g] = append(w.notices[g], e)
	}
	return e
}

func entryOf(t *testing.T, m backbone.Message) *messagev1.Entry {
	t.Helper()
	b := &flowv1.LogBatch{}
	if err := proto.Unmarshal(m.Data, b); err != nil {
		t.Fatal(err)
	}
	return b.GetEntries()[0].GetEntry()
}

// checkRecipients compares, for every entry that was in some run, who got it with who was a member.
func checkRecipients(t *testing.T, s *streams, log []backbone.Message, want map[uint64][]string) {
	t.Helper()
	type key struct {
		conversation string
		seq          uint64
	}
	got := map[key][]string{}
	for _, p := range s.online {
		task := &flowv1.OnlineTask{}
		if err := proto.Unmarshal(p.data, task); err != nil {
			t.Fatal(err)
		}
		for _, i := range task.GetItems() {
			e := &messagev1.Entry{}
			if err := proto.Unmarshal(i.GetEntry(), e); err != nil {
				t.Fatal(err)
			}
			k := key{e.GetConversationId(), e.GetSeq()}
			for _, c := range i.GetTo() {
				if !slices.Contains(got[k], c.GetUserId()) {
					got[k] = append(got[k], c.GetUserId())
				}
			}
		}
	}
	read := map[uint64]bool{}
	for _, r := range s.runs {
		for _, m := range r {
			read[m.Seq] = true
		}
	}
	for _, m := range log {
		e := entryOf(t, m)
		list := got[key{e.GetConversationId(), e.GetSeq()}]
		slices.Sort(list)
		if read[m.Seq] && !slices.Equal(list, want[m.Seq]) {
			t.Errorf("%s %d (%v) went to %v; want %v", e.GetConversationId(), e.GetSeq(), e.GetNotice(), list, want[m.Seq])
		}
	}
}

// Member sets are asked once, then the notices of the log keep them right.
func TestMembersAreAskedOnce(t *testing.T) {
	t.Parallel()
	w, s := newWorld(), &streams{}
	w.notices["g"] = []*messagev1.Entry{
		notice("g~g", 1, created, "ann", "bob"), notice("g~g", 7, joined, "cid"), notice("g~g", 9, left, "bob"), notice("g~g", 11, dissolved),
	}
	for seq := uint64(5); seq <= 12; seq++ {
		e := text("g~g", seq, "ann")
		for _, n := range w.notices["g"] {
			if n.GetSeq() == seq {
				e = n
			}
		}
		s.runs = append(s.runs, []backbone.Message{batch(t, seq, e)})
	}
	for _, u := range []string{"ann", "bob", "cid"} {
		w.online[u] = []string{"gw1/" + u}
	}
	run(t, w, s)
	want := []string{
		"gw1: 10>ann 10>cid", "gw1: 11>ann 11>cid", "gw1: 5>ann 5>bob", "gw1: 6>ann 6>bob", "gw1: 7>ann 7>bob 7>cid",
		"gw1: 8>ann 8>bob 8>cid", "gw1: 9>ann 9>bob 9>cid",
	}
	if diff := cmp.Diff(want, s.pushed(t)); diff != "" {
		t.Errorf("tasks (-want +got):\n%s", diff)
	}
	if w.asked["members"] != 1 {
		t.Errorf("group was asked %d times; want once", w.asked["members"])
	}
}

// Invariant 7: what fails is tried again, nothing is passed, and the repetition makes no second task.
func TestFailuresAreRepeated(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"lookup", "relation", "members", "publish"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w, s := newWorld(), &streams{}
			w.online["ann"] = []string{"gw1/a1"}
			w.notices["g"] = []*messagev1.Entry{notice("g~g", 1, created, "ann", "bob")}
			w.broken[what] = 3
			if what == "publish" {
				s.broken = 3
			}
			s.runs = [][]backbone.Message{
				{batch(t, 1, text("d~ann~bob", 1, "ann"), text("g~g", 2, "ann"))},
				{batch(t, 2, text("g~g", 3, "ann"))},
			}
			reg := run(t, w, s)
			if diff := cmp.Diff([]string{"gw1: 1>a1 2>a1", "gw1: 3>a1"}, s.pushed(t)); diff != "" {
				t.Errorf("tasks for gateways (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"1>bob", "2>bob", "3>bob"}, s.missed(t)); diff != "" {
				t.Errorf("offline tasks (-want +got):\n%s", diff)
			}
			if s.again == 0 || value(t, reg, "oceanchat_orchestrator_entries_total") != 3 {
				t.Errorf("%d runs again, %v entries; want some, 3", s.again, value(t, reg, "oceanchat_orchestrator_entries_total"))
			}
		})
	}
}

// A message of the log that is no batch is passed with an alarm and hurts no other.
func TestCorruptBatch(t *testing.T) {
	t.Parallel()
	w, s := newWorld(), &streams{}
	s.runs = [][]backbone.Message{{
		batch(t, 1, text("d~ann~bob", 1, "ann")), {Seq: 2, Data: []byte("\xff\xff no batch")}, batch(t, 3, text("d~ann~bob", 2, "ann")),
	}}
	reg := run(t, w, s)
	if diff := cmp.Diff([]string{"1>bob", "2>bob"}, s.missed(t)); diff != "" {
		t.Errorf("offline tasks (-want +got):\n%s", diff)
	}
	if got := value(t, reg, "oceanchat_orchestrator_alarms_total"); got != 1 {
		t.Errorf("alarms = %v; want 1", got)
	}
}

// Invariant 7: a task stays below what a queue takes, whatever the run holds; nobody is left out or doubled.
func TestLargeRunIsSplit(t *testing.T) {
	t.Parallel()
	w, s := newWorld(), &streams{}
	var all []string
	for i := range 9000 {
		u := fmt.Sprintf("user-with-a-rather-long-name-%d", i)
		all = append(all, u)
		if i%2 == 0 {
			w.online[u] = []string{"gw1/" + u}
		}
	}
	w.notices["g"] = []*messagev1.Entry{notice("g~g", 1, created, all...)}
	var m []backbone.Message
	for seq := uint64(2); seq < 12; seq++ {
		e := text("g~g", seq, "admin")
		e.GetText().Text = strings.Repeat("x", 20_000)
		m = append(m, batch(t, seq, e))
	}
	s.runs = [][]backbone.Message{m}
	run(t, w, s)
	seen := map[string]int{}
	for _, line := range s.pushed(t) {
		for _, to := range strings.Fields(line)[1:] {
			seen[to]++
		}
	}
	for _, to := range s.missed(t) {
		seen[to]++
	}
	for to, n := range seen {
		if n != 1 {
			t.Fatalf("%s came %d times; want once", to, n)
		}
	}
	if len(seen) != 10*len(all) || len(s.online) < 2 || len(s.offline) < 2 {
		t.Errorf("%d recipients in %d and %d tasks; want %d in several", len(seen), len(s.online), len(s.offline), 10*len(all))
	}
	for _, p := range slices.Concat(s.online, s.offline) {
		if len(p.data) > backbone.MaxData {
			t.Errorf("a task of %d bytes; want at most %d", len(p.data), backbone.MaxData)
		}
	}
}

func TestBadGatewayIDBlocksNobody(t *testing.T) {
	t.Parallel()
	w, s := newWorld(), &streams{}
	w.online["bob"] = []string{"g*>/b1"}
	s.runs = [][]backbone.Message{{batch(t, 1, text("d~ann~bob", 1, "ann"))}}
	run(t, w, s)
	if diff := cmp.Diff([]string{"1>bob"}, s.missed(t)); diff != "" {
		t.Errorf("offline tasks (-want +got):\n%s", diff)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	orchestrator.New(config(), orchestrator.Deps{Network: newWorld().network()}, slog.New(slog.DiscardHandler), reg)
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("metrics = %v, %v; want no problem", problems, err)
	}
}

// value returns the sum of a counter over its labels.
func value(t *testing.T, reg prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// A reader that goes on where another instance has been asks which log this is: positions of a new log may lie behind
// its own. Else the queues would take the new log's tasks for repetitions of the old one's, and drop them.
func TestTakeOverOnNewLog(t *testing.T) {
	t.Parallel()
	w, s := newWorld(), &streams{}
	w.online["ann"] = []string{"gw1/a1"}
	for i, position := range []uint64{5, 9, 10, 3} {
		s.runs = append(s.runs, []backbone.Message{batch(t, position, text("d~ann~bob", uint64(i)+1, "bob"))})
	}
	s.logs = []string{"old", "new", "not asked", "newest"}
	run(t, w, s)
	var got []string
	for _, p := range s.online {
		log, _, _ := strings.Cut(p.id, ".")
		got = append(got, log)
	}
	if diff := cmp.Diff([]string{"old", "new", "new", "newest"}, got); diff != "" {
		t.Errorf("tasks are named after the logs (-want +got):\n%s", diff)
	}
}
