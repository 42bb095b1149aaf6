package oceanchat_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/fakeserver"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

// say lets bob write n messages, numbered from first.
func (w *world) say(conversation string, first, n int) {
	for i := range n {
		w.srv.Append(conversation, "u2", fmt.Sprintf("m%d", first+i))
	}
}

// messages is what take returns for messages of say.
func messages(conversation string, first, n int) []string {
	var out []string
	for i := first; i < first+n; i++ {
		out = append(out, fmt.Sprintf("%s/%d m%d", conversation, i, i))
	}
	return out
}

// What is lost, late, doubled or overtaken on the way arrives once and in order.
func TestPushFaults(t *testing.T) {
	t.Parallel()
	at := func(do fakeserver.Action, skip, times int) fakeserver.Rule {
		return fakeserver.Rule{At: fakeserver.AtPush, Method: "entry", Do: do, Skip: skip, Times: times, DelayMs: 300, Code: 4005}
	}
	tests := []struct {
		name  string
		rules []fakeserver.Rule
		pulls int // at most
	}{
		{"nothing", nil, 0},
		{"doubled", []fakeserver.Rule{at(fakeserver.Duplicate, 0, -1)}, 0},
		{"overtaken", []fakeserver.Rule{at(fakeserver.Hold, 2, 1), at(fakeserver.Hold, 4, 2)}, 0},
		{"late", []fakeserver.Rule{at(fakeserver.Delay, 1, 4)}, 0},
		{"the third is lost", []fakeserver.Rule{at(fakeserver.Drop, 2, 1)}, 1},
		{"some are lost", []fakeserver.Rule{at(fakeserver.Drop, 1, 3), at(fakeserver.Drop, 2, 2)}, 2},
		{"cut", []fakeserver.Rule{at(fakeserver.Cut, 3, 1)}, 1},
		{"cut in a frame", []fakeserver.Rule{at(fakeserver.CutMid, 3, 1)}, 1},
		{"closed as too slow", []fakeserver.Rule{at(fakeserver.Close, 3, 1)}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				c := w.start("ann")
				in := listen(t.Context(), c, oceanchat.Live)
				w.say(direct, 1, 1)
				in.take(t, 1)
				pulls := w.srv.Requests("query.entries")
				w.srv.Script(tt.rules...)
				w.say(direct, 2, 9)
				synctest.Wait()
				w.srv.Calm()
				w.say(direct, 11, 1) // shows what is missing
				if d := cmp.Diff(messages(direct, 2, 10), in.take(t, 10)); d != "" {
					t.Errorf("entries (-want +got):\n%s", d)
				}
				in.nothing(t)
				if got := w.srv.Requests("query.entries") - pulls; got > tt.pulls {
					t.Errorf("pulls = %d; want %d at most", got, tt.pulls)
				}
				if got := w.srv.Unacknowledged(); got != 0 {
					t.Errorf("unacknowledged entries = %d; want 0", got)
				}
			})
		})
	}
}

// A hole waits 500 ms for what was overtaken, and is pulled then.
func TestHoleWaits(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.start("ann")
		in := listen(t.Context(), c, oceanchat.Live)
		w.say(direct, 1, 1)
		in.take(t, 1)
		w.srv.Script(fakeserver.Rule{At: fakeserver.AtPush, Method: "entry", Do: fakeserver.Drop})
		w.say(direct, 2, 2)
		start := time.Now()
		in.take(t, 2)
		if took := time.Since(start); took < 500*time.Millisecond || took > 600*time.Millisecond {
			t.Errorf("the hole was filled after %v; want 500 ms", took)
		}
	})
}

// Entries are acknowledged every 32, or after a second.
func TestAcknowledgements(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start("ann")
		w.say(direct, 1, 64)
		synctest.Wait()
		if got := w.srv.Unacknowledged(); got >= 32 {
			t.Errorf("unacknowledged of 64 pushed at once = %d; want fewer than 32", got)
		}
		time.Sleep(2 * time.Second)
		before := w.srv.Requests("ack")
		w.say(direct, 65, 5)
		time.Sleep(900 * time.Millisecond)
		if got := w.srv.Unacknowledged(); got != 5 {
			t.Errorf("unacknowledged after 0.9 s = %d; want 5: acknowledgements are gathered", got)
		}
		time.Sleep(200 * time.Millisecond)
		if got := w.srv.Unacknowledged(); got != 0 || w.srv.Requests("ack") != before+1 {
			t.Errorf("unacknowledged after 1.1 s = %d, by %d acknowledgements; want 0 by 1", got, w.srv.Requests("ack")-before)
		}
		for i := range 10 {
			w.say(direct, 70+i, 1)
			time.Sleep(400 * time.Millisecond)
			if got := w.srv.Unacknowledged(); got > 3 {
				t.Errorf("unacknowledged of one entry every 0.4 s = %d; want 3 at most", got)
			}
		}
	})
}

// A client that was away gets everything: what fits into a hole, and what does not.
func TestAway(t *testing.T) {
	t.Parallel()
	for _, missed := range []int{1, 2, 150, 299, 300, 301, 950} {
		t.Run(fmt.Sprint(missed), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.say(direct, 1, 3)
				c := w.start("ann")
				in := listen(t.Context(), c, oceanchat.Live)
				w.say(direct, 4, 2)
				in.take(t, 2)
				w.srv.Script(fakeserver.Rule{At: fakeserver.AtDial, Do: fakeserver.Cut, Times: 3})
				w.srv.CutAll()
				phase(t, c, oceanchat.Waiting)
				w.say(direct, 6, missed)
				if d := cmp.Diff(messages(direct, 6, missed), in.take(t, missed)); d != "" {
					t.Errorf("entries (-want +got):\n%s", d)
				}
				w.say(direct, 6+missed, 1)
				in.take(t, 1)
				in.nothing(t)
				if info := c.Conversation(oceanchat.User("u2")).Info(); info.GetUnread() != uint64(6+missed) {
					t.Errorf("unread = %d; want %d", info.GetUnread(), 6+missed)
				}
			})
		})
	}
}

// Sync pages: all are read, and only then the token counts.
func TestSyncPages(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.srv.PageSize = 3
		for i := range 10 {
			w.say(w.srv.AddGroup(fmt.Sprintf("g%d", i), "u1", "u2"), 1, 2)
		}
		s := store.NewMemory()
		w.srv.Script(fakeserver.Rule{At: fakeserver.AtReply, Method: "query.sync", Skip: 1, Do: fakeserver.Cut, Times: 2})
		c := w.start("ann", with(s))
		if got := len(c.Conversations()); got != 10 {
			t.Errorf("conversations = %d; want 10", got)
		}
		if got := c.Unread(); got != 20 {
			t.Errorf("Unread() = %d; want 20", got)
		}
		// 2 and 1 with the breaks, then 3.
		if got := w.srv.Requests("query.sync"); got != 6 {
			t.Errorf("pages asked for = %d; want 6", got)
		}
		c.Close()
		w.start("ann", with(s))
		if got := w.srv.Requests("query.sync"); got != 6 {
			t.Errorf("pages after a restart with nothing new = %d; want none more", got-6)
		}
	})
}

func TestFrom(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.say(direct, 1, 120)
		s := store.NewMemory()
		c := w.start("ann", with(s))
		all := listen(t.Context(), c, oceanchat.Beginning)
		live := listen(t.Context(), c, oceanchat.Live)
		one := make(chan string, 100)
		go func() {
			for e, err := range c.Conversation(oceanchat.User("u2")).Entries(t.Context(), 118) {
				if err != nil {
					return
				}
				one <- e.GetText().GetText()
			}
		}()
		w.say(direct, 121, 1)
		if d := cmp.Diff(messages(direct, 1, 121), all.take(t, 121)); d != "" {
			t.Errorf("from the beginning (-want +got):\n%s", d)
		}
		if d := cmp.Diff(messages(direct, 121, 1), live.take(t, 1)); d != "" {
			t.Errorf("live (-want +got):\n%s", d)
		}
		for _, want := range []string{"m119", "m120", "m121"} {
			if got := <-one; got != want {
				t.Errorf("after 118 = %s; want %s", got, want)
			}
		}
	})
}

// A named loop goes on where it ended, also after a restart; what its body did not finish comes again.
func TestResume(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.say(direct, 1, 3)
		s := store.NewMemory()
		c := w.start("ann", with(s))
		loop := func(c *oceanchat.Client, leaveAt string) (got []string) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			for e, err := range c.Entries(ctx, oceanchat.Resume("bot")) {
				if err != nil {
					return got
				}
				got = append(got, e.GetText().GetText())
				if e.GetText().GetText() == leaveAt {
					return got
				}
			}
			return got
		}
		go func() {
			time.Sleep(time.Second)
			w.say(direct, 4, 3)
		}()
		if d := cmp.Diff([]string{"m4", "m5"}, loop(c, "m5")); d != "" {
			t.Errorf("the first loop, left at m5 (-want +got):\n%s", d)
		}
		c.Close()
		w.say(direct, 7, 2)
		group := w.srv.AddGroup("new", "u1", "u2")
		w.say(group, 1, 2)
		c = w.start("ann", with(s))
		got := loop(c, "")
		byConversation := map[bool][]string{}
		for _, text := range got {
			old := text > "m4"
			byConversation[old] = append(byConversation[old], text)
		}
		if d := cmp.Diff(map[bool][]string{true: {"m5", "m6", "m7", "m8"}, false: {"m1", "m2"}}, byConversation); d != "" {
			t.Errorf("after the restart (-want +got):\n%s", d)
		}
		if got := loop(c, ""); got != nil {
			t.Errorf("a third loop = %q; want nothing", got)
		}
	})
}

// L7: the log was lost and its epoch raised. Local entries above the head go, and what comes at their seqs is read.
func TestNewEpoch(t *testing.T) {
	t.Parallel()
	for _, tell := range []bool{true, false} {
		t.Run(fmt.Sprintf("told=%v", tell), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				s := store.NewMemory()
				c := w.start("ann", with(s))
				in := listen(t.Context(), c, oceanchat.Live)
				w.say(direct, 1, 5)
				in.take(t, 5)
				if tell {
					w.srv.LoseLog(direct, 3, true)
				} else {
					w.srv.LoseLog(direct, 3, false)
					w.srv.CutAll()
				}
				time.Sleep(time.Minute)
				phase(t, c, oceanchat.Online)
				if info := c.Conversation(oceanchat.User("u2")).Info(); info.GetHead().GetSeq() != 3 {
					t.Errorf("head = %d; want 3", info.GetHead().GetSeq())
				}
				w.srv.Append(direct, "u2", "other")
				if d := cmp.Diff([]string{direct + "/4 other"}, in.take(t, 1)); d != "" {
					t.Errorf("entries of the new epoch (-want +got):\n%s", d)
				}
				held, err := s.Entries(t.Context(), direct, 0, 10)
				if err != nil || len(held) != 4 || held[3].GetText().GetText() != "other" {
					t.Errorf("stored entries = %v, %v; want 4 with the other one last", held, err)
				}
				in.nothing(t)
			})
		})
	}
}

// What is pushed while the client reads what was lost is neither lost nor taken for something old.
func TestPushWithinResync(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.start("ann")
		in := listen(t.Context(), c, oceanchat.Live)
		w.say(direct, 1, 5)
		in.take(t, 5)
		w.srv.Script(fakeserver.Rule{At: fakeserver.AtReply, Method: "query.sync", Do: fakeserver.Delay, DelayMs: 2000})
		w.srv.LoseLog(direct, 3, true)
		time.Sleep(time.Second)
		w.srv.Append(direct, "u2", "other")
		if d := cmp.Diff([]string{direct + "/4 other"}, in.take(t, 1)); d != "" {
			t.Errorf("entries of the new epoch (-want +got):\n%s", d)
		}
		in.nothing(t)
	})
}

// A loop whose body is at work when the log is lost does not pass over what comes at the same seqs.
func TestLoopWithinResync(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.start("ann")
		w.say(direct, 1, 5)
		var got []string
		for e, err := range c.Entries(t.Context(), oceanchat.Resume("bot")) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.GetText().GetText())
			switch e.GetText().GetText() {
			case "m5":
				w.srv.LoseLog(direct, 3, true)
				time.Sleep(time.Second)
				w.say(direct, 14, 2)
				time.Sleep(time.Second)
			case "m15":
				if d := cmp.Diff([]string{"m1", "m2", "m3", "m4", "m5", "m14", "m15"}, got); d != "" {
					t.Errorf("entries (-want +got):\n%s", d)
				}
				return
			}
		}
	})
}

// A hole that the server refuses to fill does not stop what comes behind it.
func TestHoleIsGivenUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.start("ann")
		in := listen(t.Context(), c, oceanchat.Live)
		w.say(direct, 1, 1)
		in.take(t, 1)
		w.srv.Script(
			fakeserver.Rule{At: fakeserver.AtPush, Method: "entry", Do: fakeserver.Drop, Times: 3},
			fakeserver.Rule{At: fakeserver.AtRequest, Method: "query.entries", Do: fakeserver.Fail, ErrorCode: "PERMISSION_DENIED", Reason: "NOT_MEMBER", Times: -1},
		)
		w.say(direct, 2, 5)
		if d := cmp.Diff(messages(direct, 5, 2), in.take(t, 2)); d != "" {
			t.Errorf("entries (-want +got):\n%s", d)
		}
		in.nothing(t)
	})
}

// The cache of a conversation is bounded; what is not in it any more is read from the server.
func TestCacheIsBounded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := store.NewMemory()
		c := w.start("ann", with(s), func(o *oceanchat.Options) { o.CacheEntries = 20 })
		w.say(direct, 1, 200)
		time.Sleep(time.Second)
		held, err := s.Entries(t.Context(), direct, 0, 1000)
		if err != nil || len(held) < 20 || len(held) > 25 || held[len(held)-1].GetSeq() != 200 {
			t.Errorf("entries in the store = %d, %v; want the newest 20 to 25", len(held), err)
		}
		if d := cmp.Diff(messages(direct, 1, 200), listen(t.Context(), c, oceanchat.Beginning).take(t, 200)); d != "" {
			t.Errorf("from the beginning (-want +got):\n%s", d)
		}
		got, err := c.Conversation(oceanchat.ID(direct)).Held(t.Context(), 3)
		if err != nil || len(got) != 3 || got[0].GetSeq() != 198 {
			t.Errorf("Held(3) = %v, %v; want 198 to 200", got, err)
		}
	})
}

func TestUnread(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.start("ann")
		check := func(when string, want uint64) {
			t.Helper()
			synctest.Wait()
			server := w.srv.Unread(direct, "u1")
			if got := c.Conversation(oceanchat.User("u2")).Info().GetUnread(); got != want || server != want {
				t.Errorf("unread %s = %d, at the server %d; want %d", when, got, server, want)
			}
		}
		w.say(direct, 1, 4)
		check("after 4", 4)
		if err := c.Conversation(oceanchat.User("u2")).MarkRead(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		check("after reading 3", 1)
		if err := c.Conversation(oceanchat.User("u2")).MarkRead(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		check("after reading 2 again", 1)
		w.say(direct, 5, 2)
		check("after 2 more", 3)
		w.send(c, oceanchat.User("u2"), "an answer")
		check("after an own one", 0)
		w.say(direct, 8, 1)
		check("after the next", 1)
		w.srv.Push("u1", "conversation", &wirev1.ConversationPush{Conversation: &queryv1.Conversation{
			ConversationId: direct, Kind: queryv1.ConversationKind_CONVERSATION_KIND_DIRECT, Pinned: true,
			Head: &queryv1.Head{Seq: 2, Ordinal: 2}, Read: &messagev1.Cursor{Seq: 2, Ordinal: 2},
		}})
		check("after an old push", 1)
		if info := c.Conversation(oceanchat.User("u2")).Info(); !info.GetPinned() || info.GetHead().GetSeq() != 8 {
			t.Errorf("after an old push: pinned %v, head %d; want true, 8", info.GetPinned(), info.GetHead().GetSeq())
		}
	})
}

func TestEvents(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ann, bob := w.start("ann"), w.start("bob")
		w.send(ann, oceanchat.User("u2"), "hi")
		synctest.Wait()
		got := make(chan oceanchat.Event, 100)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			for ev := range bob.Events(ctx) {
				got <- ev
			}
		}()
		synctest.Wait()
		typing := oceanchat.Event{Kind: oceanchat.EventTyping, ConversationID: direct, UserID: "u1"}
		for range 10 {
			ann.Conversation(oceanchat.User("u2")).Typing()
			time.Sleep(500 * time.Millisecond)
		}
		for range 2 {
			if d := cmp.Diff(typing, <-got); d != "" {
				t.Errorf("event (-want +got):\n%s", d)
			}
		}
		w.srv.Push("u2", "somethingNew", &wirev1.PingRequest{})
		w.srv.Push("u2", "receipt", &wirev1.ReceiptPush{ConversationId: direct, UserId: "u1", DeliveredSeq: 1, ReadSeq: 1})
		if d := cmp.Diff(oceanchat.Event{Kind: oceanchat.EventReceipt, ConversationID: direct, UserID: "u1", DeliveredSeq: 1, ReadSeq: 1}, <-got); d != "" {
			t.Errorf("event (-want +got):\n%s", d)
		}
		if d := cmp.Diff(oceanchat.Event{Kind: oceanchat.EventConversation, ConversationID: direct}, <-got); d != "" {
			t.Errorf("event (-want +got):\n%s", d)
		}
		if got := bob.Conversation(oceanchat.User("u1")).Info().GetPeerReadSeq(); got != 1 {
			t.Errorf("peerReadSeq = %d; want 1", got)
		}
	})
}

// A store that fails loses nothing: the entry is not acknowledged, and comes with the next connection.
func TestStoreFails(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := &faulty{Store: store.NewMemory()}
		c := w.start("ann", with(s))
		in := listen(t.Context(), c, oceanchat.Live)
		s.fail(2)
		w.say(direct, 1, 3)
		if d := cmp.Diff(messages(direct, 1, 3), in.take(t, 3)); d != "" {
			t.Errorf("entries (-want +got):\n%s", d)
		}
		in.nothing(t)
		s.fail(1)
		if _, err := c.Conversation(oceanchat.User("u2")).Enqueue(t.Context(), oceanchat.Text("x")); !errors.Is(err, errFull) {
			t.Errorf("Enqueue on a full disk = %v; want its error", err)
		}
	})
}

// What comes while the first connection is still syncing is new: a bot that resumes for the first time answers it.
func TestResumeFromTheConnection(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.srv.PageSize = 1
		w.srv.AddGroup("g1", "u1", "u2")
		w.srv.Append("g~g1", "u2", "old")
		w.srv.Append("d~u1~u3", "u3", "old")
		w.srv.Play("delay request query.sync by=2s")
		c := w.client(w.options("ann"))
		started := make(chan error, 1)
		go func() { started <- c.Start(t.Context()) }()
		synctest.Wait()
		w.srv.Append(direct, "u2", "hello")       // a conversation that is new
		w.srv.Append("g~g1", "u2", "hello again") // one that is on the page to come
		w.srv.Append("d~u1~u3", "u3", "you too")  // one that was on the first page
		if err := <-started; err != nil {
			t.Fatal(err)
		}
		in := listen(t.Context(), c, oceanchat.Resume("bot"))
		got := map[string]bool{}
		for _, line := range in.take(t, 3) {
			got[line] = true
		}
		if !got[direct+"/1 hello"] || !got["d~u1~u3/2 you too"] || !got["g~g1/2 hello again"] {
			t.Errorf("entries = %v; want what came during the sync", got)
		}
	})
}
