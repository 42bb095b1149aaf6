package query_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// page is what a request must be answered with.
type page struct {
	entries []*messagev1.Entry
	more    bool
}

// view is what a user sees of a conversation: an independent, simple model of what query does.
type view []*messagev1.Entry

func (v view) after(seq uint64, limit int) page {
	i, _ := slices.BinarySearchFunc(v, seq, func(e *messagev1.Entry, seq uint64) int { return bySeq(e.GetSeq(), seq) })
	for i < len(v) && v[i].GetSeq() <= seq {
		i++
	}
	rest := v[i:]
	return page{rest[:min(limit, len(rest))], len(rest) > limit}
}

func (v view) before(seq uint64, limit int) page {
	i := len(v)
	for i > 0 && v[i-1].GetSeq() >= seq {
		i--
	}
	return page{v[max(0, i-limit):i], i > limit}
}

func (v view) around(seq uint64, limit int) page {
	if len(v) > 0 {
		seq = max(seq, v[0].GetSeq())
	}
	old := v.before(seq+1, (limit+1)/2)
	if limit == 1 {
		return old
	}
	var last uint64
	if n := len(old.entries); n > 0 {
		last = old.entries[n-1].GetSeq()
	}
	fresh := v.after(last, limit/2)
	return page{slices.Concat(old.entries, fresh.entries), old.more || fresh.more}
}

// at is around the first entry sent at or after a time, of all that are there, or the last one seen.
func (v view) at(all []*messagev1.Entry, t time.Time, limit int) page {
	if len(v) == 0 {
		return page{}
	}
	seq := v[len(v)-1].GetSeq()
	for _, e := range all {
		if !e.GetSentAt().AsTime().Before(t) {
			seq = min(seq, e.GetSeq())
			break
		}
	}
	return v.around(seq, limit)
}

func bySeq(a, b uint64) int {
	if a < b {
		return -1
	} else if a > b {
		return 1
	}
	return 0
}

// viewOf returns what a user sees between the first and the last seq of its stays: in the gaps, and where the peer's is
// withheld, a seq without a body.
func viewOf(all []*messagev1.Entry, u string, stays, withheld []*userv1.SeqRange) view {
	in := func(rs []*userv1.SeqRange, seq uint64) bool {
		return slices.ContainsFunc(rs, func(r *userv1.SeqRange) bool { return r.GetFrom() <= seq && (r.GetTo() == 0 || seq <= r.GetTo()) })
	}
	var v view
	for _, e := range all {
		last := stays[len(stays)-1].GetTo()
		if e.GetSeq() < stays[0].GetFrom() || last != 0 && e.GetSeq() > last {
			continue
		}
		if !in(stays, e.GetSeq()) || e.GetSenderId() != u && in(withheld, e.GetSeq()) {
			e = &messagev1.Entry{
				ConversationId: e.GetConversationId(), Seq: e.GetSeq(), Ordinal: e.GetOrdinal(), SentAt: e.GetSentAt(),
				Kind: messagev1.EntryKind_ENTRY_KIND_HIDDEN,
			}
		}
		v = append(v, e)
	}
	return v
}

// reader is a user with its view of a conversation.
type reader struct {
	u    string
	c    chat.ConversationID
	view view
}

// walks compares every kind of page with the model.
func (w *world) walks(what string, r reader, limits ...int) {
	w.t.Helper()
	check := func(name string, want page, got *queryv1.EntriesResponse, err error) {
		w.t.Helper()
		answer := &queryv1.EntriesResponse{Entries: want.entries, HasMore: want.more}
		if n := len(want.entries); n > 0 {
			answer.FromSeq, answer.ToSeq = want.entries[0].GetSeq(), want.entries[n-1].GetSeq()
		}
		if err != nil || !proto.Equal(answer, got) {
			w.t.Fatalf("%s: %s of %s by %s: %v (-want +got):\n%s", what, name, r.c, r.u, err, cmp.Diff(answer, got, protocmp.Transform()))
		}
	}
	all := w.log[r.c]
	for _, limit := range limits {
		l := new(int32(limit))
		history := func(req *queryv1.HistoryRequest) (*queryv1.EntriesResponse, error) {
			req.ConversationId, req.Limit = string(r.c), l
			return w.query.History(w.as(r.u), req)
		}
		var at uint64
		for more, seen := true, 0; more; {
			want := r.view.after(at, limit)
			got, err := history(&queryv1.HistoryRequest{AfterSeq: &at})
			check(fmt.Sprintf("history after %d limit %d", at, limit), want, got, err)
			got, err = w.query.Entries(w.as(r.u), &queryv1.EntriesRequest{ConversationId: string(r.c), AfterSeq: at, Limit: l})
			check(fmt.Sprintf("entries after %d limit %d", at, limit), want, got, err)
			at, more, seen = got.GetToSeq(), got.GetHasMore(), seen+len(got.GetEntries())
			if !more && seen != len(r.view) {
				w.t.Fatalf("%s: walking up %s by %s shows %d entries; want %d", what, r.c, r.u, seen, len(r.view))
			}
		}
		got, err := history(&queryv1.HistoryRequest{})
		check(fmt.Sprintf("latest %d", limit), r.view.before(math.MaxUint64, limit), got, err)
		for seen := len(got.GetEntries()); got.GetHasMore(); seen += len(got.GetEntries()) {
			at := got.GetFromSeq()
			got, err = history(&queryv1.HistoryRequest{BeforeSeq: &at})
			check(fmt.Sprintf("history before %d limit %d", at, limit), r.view.before(at, limit), got, err)
			if !got.GetHasMore() && seen+len(got.GetEntries()) != len(r.view) {
				w.t.Fatalf("%s: walking down %s by %s shows %d entries; want %d", what, r.c, r.u, seen+len(got.GetEntries()), len(r.view))
			}
		}
		for _, seq := range []uint64{0, 1, uint64(rand.IntN(len(all) + 2)), uint64(len(all)), uint64(len(all)) + 7, math.MaxUint64} {
			got, err := history(&queryv1.HistoryRequest{AroundSeq: &seq})
			check(fmt.Sprintf("history around %d limit %d", seq, limit), r.view.around(min(seq, math.MaxInt64), limit), got, err)
			got, err = history(&queryv1.HistoryRequest{BeforeSeq: &seq})
			check(fmt.Sprintf("history before %d limit %d", seq, limit), r.view.before(seq, limit), got, err)
			got, err = history(&queryv1.HistoryRequest{AfterSeq: &seq})
			check(fmt.Sprintf("history after %d limit %d", seq, limit), r.view.after(seq, limit), got, err)
		}
		for range 3 {
			t := all[rand.IntN(len(all))].GetSentAt().AsTime().Add(time.Duration(rand.IntN(3)-1) * time.Millisecond)
			got, err := history(&queryv1.HistoryRequest{AtTime: timestamppb.New(t)})
			check(fmt.Sprintf("history at %v limit %d", t, limit), r.view.at(all, t, limit), got, err)
		}
	}
}

// random fills the log with conversations of random length in random batches, at random times, and returns who sees
// what of them.
func (w *world) random(rng *rand.Rand) []reader {
	conversations := []chat.ConversationID{"d~ann~bob", "d~ann~cid", "d~bob~cid", "g~team", "g~all", "i~ann"}
	size := map[chat.ConversationID]int{}
	for _, c := range conversations {
		size[c] = 1 + rng.IntN(30)
	}
	size["g~team"] = 105 + rng.IntN(40)
	var order []chat.ConversationID
	for c, n := range size {
		order = append(order, slices.Repeat([]chat.ConversationID{c}, n)...)
	}
	slices.Sort(order)
	rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, c := range order {
		w.now = w.now.Add(time.Duration(rng.IntN(3)) * time.Millisecond)
		senders := []string{"cid", "bob", "ann"}
		if c.Kind() == chat.KindInbox {
			senders = senders[:2]
		} else if a, b := c.Users(); a != "" {
			senders = []string{string(a), string(b)}
		}
		text := fmt.Sprint("text ", rng.IntN(1000))
		if c.Kind() == chat.KindGroup && rng.IntN(5) == 0 {
			text = "" // a notice
		}
		w.add(c, senders[rng.IntN(len(senders))], text, senders[:rng.IntN(len(senders)+1)]...)
		if rng.IntN(3) == 0 {
			w.flush(c.Partition(partitions))
		}
	}
	w.flush(0)
	w.flush(1)
	n := uint64(size["g~team"])
	cut := []uint64{2, 3, 4, 5, 6}
	for i := range cut {
		cut[i] = 1 + uint64(rng.IntN(int(n)))
	}
	slices.Sort(cut)
	stays := map[string][]*userv1.SeqRange{
		"ann": {span(1, 0)}, "bob": {span(cut[0], 0)}, "cid": {span(cut[1], cut[3])},
		"dan": {span(cut[0], cut[1]), span(cut[1]+2, n-(n-cut[1])/2), span(n, 0)},
	}
	if cut[1]+2 > n-(n-cut[1])/2 {
		stays["dan"] = stays["dan"][:1]
	}
	var readers []reader
	for u, s := range stays {
		w.see("team", u, s...)
		readers = append(readers, reader{u, "g~team", viewOf(w.log["g~team"], u, s, nil)})
	}
	open := []*userv1.SeqRange{span(1, 0)}
	w.see("all", "ann", open...)
	w.users.withheld["bob>ann"] = []*userv1.SeqRange{span(2, 4), span(uint64(max(5, size["d~ann~bob"]-3)), 0)}
	return append(readers,
		reader{"ann", "g~all", viewOf(w.log["g~all"], "ann", open, nil)},
		reader{"ann", "i~ann", viewOf(w.log["i~ann"], "ann", open, nil)},
		reader{"ann", "d~ann~bob", viewOf(w.log["d~ann~bob"], "ann", open, w.users.withheld["bob>ann"])},
		reader{"bob", "d~ann~bob", viewOf(w.log["d~ann~bob"], "bob", open, nil)},
		reader{"cid", "d~ann~cid", viewOf(w.log["d~ann~cid"], "cid", open, nil)},
	)
}

// QRY-1, QRY-2: whatever the writer has stored, and whatever it stores between the two tiers, every page shows what there
// is, once, in order, and the lists are the same.
func TestPagesProperty(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 7))
			w := newWorld(t)
			readers := w.random(rng)
			lists := map[string][]*queryv1.Conversation{}
			stage := func(what string) {
				for _, r := range readers {
					w.walks(what, r, []int{5 + rng.IntN(20), 100}[rng.IntN(2)])
				}
				for _, u := range []string{"ann", "bob", "cid", "dan"} {
					got := w.list(u)
					if want, ok := lists[u]; ok {
						if !slices.EqualFunc(want, got, func(a, b *queryv1.Conversation) bool { return proto.Equal(a, b) }) {
							d := cmp.Diff(want, got, protocmp.Transform())
							t.Fatalf("%s: the list of %s is another than with the writer stopped (-want +got):\n%s", what, u, d)
						}
					}
					lists[u] = got
				}
			}
			stage("writer stopped")
			for p, s := range w.streams {
				info, err := s.Info(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				w.store(p, uint64(rng.Int64N(int64(info.Last)+1)))
			}
			stage("half-way")
			at := [partitions]uint64{}
			w.messages.afterTail = func() { // the writer goes on between the tiers
				p := rng.IntN(partitions)
				mark, err := w.db.Log().Mark(t.Context(), p)
				if err != nil {
					t.Error(err)
				}
				at[p] = mark.Position + uint64(rng.IntN(3))
				w.store(p, at[p])
			}
			stage("under way")
			w.messages.afterTail = nil
			w.storeAll()
			stage("complete")
		})
	}
}

// With limit 1 and limit 2 every step of a walk is checked.
func TestSmallPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for n := range 12 {
		w.say("g~team", "ann", fmt.Sprint("text ", n))
	}
	w.store(chat.ConversationID("g~team").Partition(partitions), 5)
	for u, stays := range map[string][]*userv1.SeqRange{
		"ann": {span(1, 0)}, "late": {span(4, 0)}, "left": {span(3, 8)}, "back": {span(2, 3), span(7, 8), span(11, 0)}, "fresh": {span(12, 0)},
	} {
		w.see("team", u, stays...)
		w.walks("half-way", reader{u, "g~team", viewOf(w.log["g~team"], u, stays, nil)}, 1, 2, 3)
	}
}

// An entry that is far into a long unstored tail is found by its time (the writer is down for long).
func TestAtTimeInLongTail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for n := range 450 {
		w.now = w.now.Add(time.Second)
		w.add("g~team", "ann", fmt.Sprint("text ", n))
	}
	w.flush(chat.ConversationID("g~team").Partition(partitions))
	w.see("team", "ann", span(1, 0))
	w.see("team", "bob", span(300, 400))
	for _, tt := range []struct {
		u         string
		seq, want uint64
	}{{"ann", 1, 1}, {"ann", 333, 333}, {"ann", 450, 450}, {"bob", 20, 300}, {"bob", 350, 350}, {"bob", 444, 400}} {
		at := w.log["g~team"][tt.seq-1].GetSentAt()
		r, err := w.query.History(w.as(tt.u), &queryv1.HistoryRequest{ConversationId: "g~team", AtTime: at, Limit: proto.Int32(1)})
		if err != nil || r.GetToSeq() != tt.want || r.GetFromSeq() != tt.want {
			t.Errorf("History of %s at the time of %d = %d to %d, %v; want %d", tt.u, tt.seq, r.GetFromSeq(), r.GetToSeq(), err, tt.want)
		}
	}
	late, err := w.query.History(w.as("ann"), &queryv1.HistoryRequest{ConversationId: "g~team", AtTime: timestamppb.Now(), Limit: proto.Int32(1)})
	if err != nil || late.GetToSeq() != 450 {
		t.Errorf("History after all = %d, %v; want 450", late.GetToSeq(), err)
	}
}

// An empty conversation has empty pages.
func TestEmptyHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, req := range []*queryv1.HistoryRequest{
		{}, {AfterSeq: proto.Uint64(0)}, {BeforeSeq: proto.Uint64(9)}, {AroundSeq: proto.Uint64(3)}, {AtTime: timestamppb.Now()},
	} {
		for _, c := range []string{"d~ann~bob", "i~ann"} {
			req.ConversationId = c
			got, err := w.query.History(w.as("ann"), req)
			if d := cmp.Diff(&queryv1.EntriesResponse{}, got, protocmp.Transform()); err != nil || d != "" {
				t.Errorf("History(%v) = %v (-want +got):\n%s", req, err, d)
			}
		}
	}
}

// Invariant 8, and 4: bad input names its field; what is not yours answers as what is not there.
func TestHistoryRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.say("d~bob~cid", "bob", "secret")
	w.say("g~team", "bob", "secret")
	w.say("i~bob", "bob", "secret")
	w.see("team", "bob", span(1, 0))
	one := proto.Uint64(1)
	for _, tt := range []struct {
		name  string
		req   *queryv1.HistoryRequest
		field string
	}{
		{"limit 0", &queryv1.HistoryRequest{Limit: proto.Int32(0)}, "limit"},
		{"limit below", &queryv1.HistoryRequest{Limit: proto.Int32(-5)}, "limit"},
		{"two bounds", &queryv1.HistoryRequest{AfterSeq: one, BeforeSeq: one}, "afterSeq"},
		{"two bounds, zeros", &queryv1.HistoryRequest{AfterSeq: new(uint64), AroundSeq: new(uint64)}, "afterSeq"},
		{"bound and time", &queryv1.HistoryRequest{BeforeSeq: one, AtTime: timestamppb.Now()}, "afterSeq"},
		{"no time", &queryv1.HistoryRequest{AtTime: &timestamppb.Timestamp{Seconds: math.MaxInt64}}, "atTime"},
		{"no conversation", &queryv1.HistoryRequest{}, "conversationId"},
	} {
		if tt.field != "conversationId" {
			tt.req.ConversationId = "i~ann"
		}
		_, err := w.query.History(w.as("ann"), tt.req)
		wantReason(t, tt.name+": History", err, fault.InvalidFieldReason)
		if f := fields(err); len(f) != 1 || f[0] != tt.field {
			t.Errorf("%s: History names %v; want %s", tt.name, f, tt.field)
		}
	}
	_, err := w.query.Entries(w.as("ann"), &queryv1.EntriesRequest{ConversationId: "i~ann", Limit: proto.Int32(0)})
	wantReason(t, "Entries with limit 0", err, fault.InvalidFieldReason)
	w.users.gone["zed"] = true
	for _, c := range []string{"d~bob~cid", "g~team", "i~bob", "d~ann~zed", "g~none", "d~x~y", "i~none"} {
		for name, ask := range map[string]func() error{
			"History": func() error {
				_, err := w.query.History(w.as("ann"), &queryv1.HistoryRequest{ConversationId: c})
				return err
			},
			"Entries": func() error {
				_, err := w.query.Entries(w.as("ann"), &queryv1.EntriesRequest{ConversationId: c})
				return err
			},
			"GetConversation": func() error {
				_, err := w.query.GetConversation(w.as("ann"), &queryv1.GetConversationRequest{ConversationId: c})
				return err
			},
		} {
			want := fault.New(fault.NotFoundReason, "no such conversation")
			if d := cmp.Diff(want, fault.Of(ask())); d != "" { // Of(nil) is nil
				t.Errorf("%s(%s) by a stranger (-want +got):\n%s", name, c, d)
			}
		}
	}
}

// Above 100 a limit is clamped; 50 is the default.
func TestLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 120 {
		w.add("i~ann", "bob", "hi")
	}
	w.flush(chat.ConversationID("i~ann").Partition(partitions))
	for limit, want := range map[*int32]int{nil: 50, proto.Int32(100): 100, proto.Int32(101): 100, proto.Int32(math.MaxInt32): 100} {
		r, err := w.query.Entries(w.as("ann"), &queryv1.EntriesRequest{ConversationId: "i~ann", Limit: limit})
		if err != nil || len(r.GetEntries()) != want || !r.GetHasMore() {
			t.Errorf("Entries(limit %v) = %d entries, hasMore %v, %v; want %d, true", limit, len(r.GetEntries()), r.GetHasMore(), err, want)
		}
	}
}

// Invariant 4: a removal that comes between the permission and the reading hides what follows it.
func TestRemovedWhileReading(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.say("g~team", "ann", "before")
	w.see("team", "bob", span(1, 0))
	removed := false
	remove := func() {
		if removed {
			return
		}
		removed = true
		w.say("g~team", "ann", "") // the notice, at seq 2
		w.say("g~team", "ann", "secret")
		w.see("team", "bob", span(1, 2))
	}
	w.groups.afterList = remove
	for _, c := range w.list("bob") {
		if c.GetLastEntry().GetText().GetText() == "secret" {
			t.Errorf("the list shows bob what came after its removal: %v", c.GetLastEntry())
		}
	}
	if !removed {
		t.Fatal("bob was not removed")
	}
	w.see("team", "cid", span(1, 0))
	removed = false
	w.messages.afterTail = func() {
		if !removed {
			removed = true
			w.see("team", "cid", span(1, 2))
		}
	}
	r, err := w.query.History(w.as("cid"), &queryv1.HistoryRequest{ConversationId: "g~team"})
	if err != nil || !removed {
		t.Fatalf("History = %v, removed %v; want nil, true", err, removed)
	}
	for _, e := range r.GetEntries() {
		if e.GetSeq() > 2 && e.GetKind() != messagev1.EntryKind_ENTRY_KIND_HIDDEN {
			t.Errorf("History shows cid what came after its removal: %v", e)
		}
	}
}
