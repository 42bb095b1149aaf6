package oceanchat_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/fakeserver"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

var errFull = errors.New("disk is full")

// faulty is a store whose next writes fail.
type faulty struct {
	store.Store
	mu   sync.Mutex // guards next
	next int
}

func (f *faulty) fail(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = n
}

func (f *faulty) Apply(ctx context.Context, b store.Batch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next > 0 {
		f.next--
		return errFull
	}
	return f.Store.Apply(ctx, b)
}

// texts returns what stands in a log.
func (w *world) texts(conversation string) []string {
	var out []string
	for _, e := range w.srv.Log(conversation) {
		out = append(out, e.GetText().GetText())
	}
	return out
}

func numbered(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprint(i+1))
	}
	return out
}

// Send returns once the message is in the log, whatever happens on the way, and it is there once.
func TestSendFaults(t *testing.T) {
	t.Parallel()
	rule := func(at fakeserver.Point, do fakeserver.Action) fakeserver.Rule {
		return fakeserver.Rule{At: at, Method: "message.send", Do: do, Skip: 1, Times: 2, Code: 4006, DelayMs: 20_000}
	}
	tests := []struct {
		name string
		rule fakeserver.Rule
	}{
		{"the request is lost", rule(fakeserver.AtRequest, fakeserver.Drop)},
		{"the request is late", rule(fakeserver.AtRequest, fakeserver.Delay)},
		{"cut before it is done", rule(fakeserver.AtRequest, fakeserver.Cut)},
		{"closed before it is done", rule(fakeserver.AtRequest, fakeserver.Close)},
		{"the answer is lost", rule(fakeserver.AtReply, fakeserver.Drop)},
		{"the answer is late", rule(fakeserver.AtReply, fakeserver.Delay)},
		{"the answer comes twice", rule(fakeserver.AtReply, fakeserver.Duplicate)},
		{"cut after it is done", rule(fakeserver.AtReply, fakeserver.Cut)},
		{"cut within the answer", rule(fakeserver.AtReply, fakeserver.CutMid)},
		{"closed after it is done", rule(fakeserver.AtReply, fakeserver.Close)},
		{"unavailable", fakeserver.Rule{At: fakeserver.AtRequest, Method: "message.send", Do: fakeserver.Fail, Skip: 1, Times: 3, ErrorCode: "UNAVAILABLE", Reason: "OUTCOME_UNKNOWN"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				ann := w.start("ann")
				in := listen(t.Context(), ann, oceanchat.Live)
				w.srv.Script(tt.rule)
				var want []string
				for i, text := range numbered(4) {
					if r := w.send(ann, oceanchat.User("u2"), text); r.Seq != uint64(i+1) {
						t.Errorf("Send(%s) = seq %d; want %d", text, r.Seq, i+1)
					}
					want = append(want, fmt.Sprintf("%s/%d %s", direct, i+1, text))
				}
				if d := cmp.Diff(numbered(4), w.texts(direct)); d != "" {
					t.Errorf("the log (-want +got):\n%s", d)
				}
				if d := cmp.Diff(want, in.take(t, 4)); d != "" {
					t.Errorf("ann's entries (-want +got):\n%s", d)
				}
				in.nothing(t)
				if got := ann.Outbox(); len(got) != 0 {
					t.Errorf("outbox = %v; want nothing", got)
				}
			})
		})
	}
}

// A message whose id the application names has one effect also when neither the new process's Store nor the server's
// memory of ids knows of it any more: each attempt says that it may not be the first.
func TestNamedIDs(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first := w.srv.Append(direct, "u2", "hello")
		for range 2 {
			ann := w.start("ann") // with nothing of the past
			for _, send := range []func() (oceanchat.Receipt, error){
				func() (oceanchat.Receipt, error) { return ann.Reply(t.Context(), first, "hello yourself") },
				func() (oceanchat.Receipt, error) {
					return ann.Conversation(oceanchat.User("u2")).Send(t.Context(), oceanchat.Message{Text: "due", ID: "invoice-1"})
				},
				func() (oceanchat.Receipt, error) {
					out, err := ann.Conversation(oceanchat.User("u2")).Enqueue(t.Context(), oceanchat.Message{Text: "paid", ID: "invoice-2"})
					if err != nil {
						return oceanchat.Receipt{}, err
					}
					return out.Wait(t.Context())
				},
			} {
				if _, err := send(); err != nil {
					t.Fatal(err)
				}
			}
			ann.Close()
			w.srv.ForgetIDs()
		}
		if d := cmp.Diff([]string{"hello", "hello yourself", "due", "paid"}, w.texts(direct)); d != "" {
			t.Errorf("the log (-want +got):\n%s", d)
		}
	})
}

// A named message that was never tried can be taken back: that its id may be an old one is another matter.
func TestNamedIsTakenBack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ann := w.start("ann")
		w.srv.Play("fail handshake times=-1")
		w.srv.CutAll()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := ann.Conversation(oceanchat.User("u2")).Send(ctx, oceanchat.Message{Text: "due", ID: "invoice-1"})
		if got := len(ann.Outbox()); errors.Is(err, oceanchat.ErrPending) || err == nil || got != 0 {
			t.Errorf("Send = %v with %d in the outbox; want the context's error and nothing", err, got)
		}
	})
}

// The first attempt says nothing of being a repetition, all others do.
func TestResendFlag(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ann := w.start("ann")
		w.srv.Script(fakeserver.Rule{At: fakeserver.AtRequest, Method: "message.send", Do: fakeserver.Drop, Times: 2})
		w.send(ann, oceanchat.User("u2"), "1")
		w.send(ann, oceanchat.User("u2"), "2")
		if d := cmp.Diff([]bool{false, true, true, false}, w.srv.Resends()); d != "" {
			t.Errorf("resend of each attempt (-want +got):\n%s", d)
		}
	})
}

// What the server refuses for good fails alone; the next one goes on.
func TestRefusedMessages(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := store.NewMemory()
		ann := w.start("ann", with(s))
		to := ann.Conversation(oceanchat.User("u2"))
		w.srv.Script(fakeserver.Rule{At: fakeserver.AtRequest, Method: "message.send", Do: fakeserver.Fail, ErrorCode: "PERMISSION_DENIED", Reason: "NOT_ALLOWED", Times: 2})
		if _, err := to.Send(t.Context(), oceanchat.Text("1")); !oceanchat.IsReason(err, "NOT_ALLOWED") {
			t.Errorf("Send = %v; want NOT_ALLOWED", err)
		}
		if got := ann.Outbox(); len(got) != 0 {
			t.Errorf("outbox after a refused Send = %v; want nothing", got)
		}
		out, err := to.Enqueue(t.Context(), oceanchat.Text("2"))
		if err != nil {
			t.Fatal(err)
		}
		w.send(ann, oceanchat.User("u2"), "3")
		if _, err := out.Wait(t.Context()); !oceanchat.IsReason(err, "NOT_ALLOWED") {
			t.Errorf("Wait = %v; want NOT_ALLOWED", err)
		}
		ann.Close()
		ann = w.start("ann", with(s))
		got := ann.Outbox()
		if len(got) != 1 || got[0].ID != out.ID() || got[0].Err == nil || got[0].Err.Reason != "NOT_ALLOWED" {
			t.Fatalf("outbox after a restart = %+v; want the refused one", got)
		}
		if err := ann.Retry(out.ID()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if d := cmp.Diff([]string{"3", "2"}, w.texts(direct)); d != "" {
			t.Errorf("the log after Retry (-want +got):\n%s", d)
		}
		if _, err := ann.Conversation(oceanchat.User("nobody")).Enqueue(t.Context(), oceanchat.Message{Text: "x", ID: "lost"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := ann.Discard("lost"); err != nil || len(ann.Outbox()) != 0 {
			t.Errorf("Discard = %v, outbox %v; want nil, nothing", err, ann.Outbox())
		}
	})
}

func TestRateLimit(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ann := w.start("ann")
		w.srv.Script(fakeserver.Rule{At: fakeserver.AtRequest, Method: "message.send", Do: fakeserver.Fail, ErrorCode: "RESOURCE_EXHAUSTED", Reason: "RATE_LIMITED", RetryAfterMs: 7000})
		start := time.Now()
		w.send(ann, oceanchat.User("u2"), "1")
		if took := time.Since(start); took < 7*time.Second || took > 8*time.Second {
			t.Errorf("the message went out after %v; want retryAfterMs", took)
		}
	})
}

// What was enqueued goes out after a restart, in order and once, also when it was out already.
func TestOutboxSurvives(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := store.NewMemory()
		ann := w.client(withStore(w.options("ann"), s))
		for _, text := range numbered(3) { // before it ever was online
			if _, err := ann.Conversation(oceanchat.User("u2")).Enqueue(t.Context(), oceanchat.Message{Text: text, ID: "id" + text}); err != nil {
				t.Fatal(err)
			}
		}
		w.srv.Script(fakeserver.Rule{At: fakeserver.AtReply, Method: "message.send", Skip: 1, Do: fakeserver.Drop, Times: -1})
		if err := ann.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second) // the second is in the log, and its answer lost
		ann.Close()
		w.srv.Calm()
		if got := len(ann.Outbox()); got != 2 {
			t.Fatalf("outbox = %d; want 2", got)
		}
		before := len(w.srv.Resends())
		ann = w.start("ann", with(s))
		for _, text := range []string{"3", "4"} { // one that waits already, and a new one
			r, err := ann.Conversation(oceanchat.User("u2")).Send(t.Context(), oceanchat.Message{Text: text, ID: "id" + text})
			if err != nil || fmt.Sprint(r.Seq) != text {
				t.Errorf("Send(%s) = %+v, %v; want it at its number", text, r, err)
			}
		}
		if d := cmp.Diff(numbered(4), w.texts(direct)); d != "" {
			t.Errorf("the log (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]bool{true, true, true}, w.srv.Resends()[before:]); d != "" {
			t.Errorf("resend after the restart (-want +got):\n%s", d)
		}
	})
}

func withStore(o oceanchat.Options, s store.Store) oceanchat.Options {
	o.Store = s
	return o
}

// Whoever stops waiting for Send learns whether the message may still arrive.
func TestSendGivesUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ann := w.start("ann")
		to := ann.Conversation(oceanchat.User("u2"))
		w.srv.Script(fakeserver.Rule{At: fakeserver.AtReply, Method: "message.send", Do: fakeserver.Drop})
		short := func() context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			t.Cleanup(cancel)
			return ctx
		}
		if _, err := to.Send(short(), oceanchat.Text("1")); !errors.Is(err, oceanchat.ErrPending) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send without an answer = %v; want ErrPending", err)
		}
		if _, err := to.Send(short(), oceanchat.Text("2")); errors.Is(err, oceanchat.ErrPending) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send behind it = %v; want the context's error alone", err)
		}
		time.Sleep(time.Minute)
		if d := cmp.Diff(numbered(1), w.texts(direct)); d != "" {
			t.Errorf("the log (-want +got):\n%s", d)
		}
		ann.Close()
		var closed *oceanchat.ClosedError
		if _, err := to.Send(t.Context(), oceanchat.Text("3")); !errors.As(err, &closed) {
			t.Errorf("Send after Close = %v; want a ClosedError", err)
		}
	})
}

func TestCloseWhileSending(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ann := w.start("ann")
		w.srv.Script(fakeserver.Rule{At: fakeserver.AtRequest, Method: "message.send", Do: fakeserver.Drop})
		done := make(chan error, 1)
		go func() {
			_, err := ann.Conversation(oceanchat.User("u2")).Send(t.Context(), oceanchat.Text("1"))
			done <- err
		}()
		synctest.Wait()
		ann.Close()
		var closed *oceanchat.ClosedError
		if err := <-done; !errors.Is(err, oceanchat.ErrPending) || !errors.As(err, &closed) {
			t.Errorf("Send when the client closes = %v; want ErrPending and a ClosedError", err)
		}
	})
}

// chaos is any fault at any point.
func chaos(rng *rand.Rand) fakeserver.Rule {
	points := []fakeserver.Rule{
		{At: fakeserver.AtDial},
		{At: fakeserver.AtHandshake},
		{At: fakeserver.AtRequest, Method: "auth.refresh"},
		{At: fakeserver.AtReply, Method: "auth.refresh"},
		{At: fakeserver.AtRequest, Method: "connect"},
		{At: fakeserver.AtReply, Method: "connect"},
		{At: fakeserver.AtRequest},
		{At: fakeserver.AtReply},
		{At: fakeserver.AtRequest, Method: "message.send"},
		{At: fakeserver.AtReply, Method: "message.send"},
		{At: fakeserver.AtReply, Method: "query.entries"},
		{At: fakeserver.AtReply, Method: "query.sync"},
		{At: fakeserver.AtPush},
		{At: fakeserver.AtPush, Method: "entry"},
		{At: fakeserver.AtPush, Method: "entry"},
	}
	actions := []fakeserver.Action{
		fakeserver.Drop, fakeserver.Delay, fakeserver.Duplicate, fakeserver.Hold, fakeserver.Cut, fakeserver.CutMid, fakeserver.Close, fakeserver.Fail,
	}
	r := points[rng.IntN(len(points))]
	r.Do, r.Skip, r.Times = actions[rng.IntN(len(actions))], rng.IntN(12), 1+rng.IntN(3)
	r.DelayMs, r.Silent, r.RetryAfterMs = rng.IntN(1500), rng.IntN(2) == 0, rng.IntN(3000)
	r.Code = []int{1001, 4005, 4006, 4007, 4008}[rng.IntN(5)]
	r.ErrorCode, r.Reason = "UNAVAILABLE", "OVERLOADED"
	return r
}

// After any faults, restarts included: each message is in the log once and in the order of its sender, everyone has
// received the whole of the log in its order and once, and counts as unread what the server counts.
func TestChaos(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				rng := rand.New(rand.NewPCG(seed, 7))
				quiet := func(o *oceanchat.Options) {}
				group := w.srv.AddGroup("all", "u1", "u2", "u3")
				names := []string{"ann", "bob", "cid"}
				stores := map[string]*store.Memory{}
				clients := map[string]*oceanchat.Client{}
				inboxes := map[string][]*inbox{}
				up := func(name string) {
					c := w.start(name, with(stores[name]), quiet)
					clients[name] = c
					inboxes[name] = append(inboxes[name], listen(t.Context(), c, oceanchat.Resume("test")))
				}
				for _, name := range names {
					stores[name] = store.NewMemory()
					up(name)
				}
				for range 1 + rng.IntN(12) {
					w.srv.Script(chaos(rng))
				}
				const each = 12
				for i := range each {
					for n, name := range names {
						for _, to := range []oceanchat.Target{oceanchat.Group("all"), oceanchat.User(fmt.Sprintf("u%d", (n+1)%3+1))} {
							m := oceanchat.Message{Text: fmt.Sprintf("%s %d", name, i), ID: fmt.Sprintf("m%d", i)}
							if _, err := clients[name].Conversation(to).Enqueue(t.Context(), withTarget(m, to)); err != nil {
								t.Fatal(err)
							}
						}
					}
					switch rng.IntN(8) {
					case 0: // not between a refresh and the use of what it gave: then a client gives up, rightly
						if synctest.Wait(); w.srv.Connected() == len(names) {
							w.srv.ExpireTokens()
						}
					case 1:
						w.srv.CutAll()
					case 2:
						time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
					case 3:
						name := names[rng.IntN(3)]
						clients[name].Close()
						up(name)
					}
				}
				time.Sleep(time.Minute)
				w.srv.Calm()
				time.Sleep(10 * time.Minute)
				w.check(t, group, each, names, clients, inboxes)
			})
		})
	}
}

// withTarget makes a message's id one of its own for each target: the outbox knows messages by their ids.
func withTarget(m oceanchat.Message, to oceanchat.Target) oceanchat.Message {
	if to == oceanchat.Group("all") {
		m.ID = "g" + m.ID
	}
	return m
}

func (w *world) check(t *testing.T, group string, each int, names []string, clients map[string]*oceanchat.Client, inboxes map[string][]*inbox) {
	t.Helper()
	logs := map[string][]*messagev1.Entry{}
	for _, id := range []string{group, fakeserver.Direct("u1", "u2"), fakeserver.Direct("u2", "u3"), fakeserver.Direct("u1", "u3")} {
		logs[id] = w.srv.Log(id)
	}
	for id, want := range map[string]int{group: 3 * each, fakeserver.Direct("u1", "u2"): each} {
		if got := len(logs[id]); got != want {
			t.Errorf("%s has %d entries; want %d", id, got, want)
		}
	}
	for _, log := range logs {
		next := map[string]int{}
		for _, e := range log {
			var name string
			var i int
			if _, err := fmt.Sscan(e.GetText().GetText(), &name, &i); err != nil || i != next[name] {
				t.Errorf("%s/%d is %q; want %s %d next", e.GetConversationId(), e.GetSeq(), e.GetText().GetText(), name, next[name])
			}
			next[name]++
		}
	}
	for n, name := range names {
		me := fmt.Sprintf("u%d", n+1)
		got := map[string][]*messagev1.Entry{}
		for _, in := range inboxes[name] {
			for len(in.entries) > 0 {
				e := <-in.entries
				got[e.GetConversationId()] = append(got[e.GetConversationId()], e)
			}
		}
		c := clients[name]
		if st := c.State(); st.Phase != oceanchat.Online {
			t.Errorf("%s = %+v; want online", name, st)
		}
		for _, info := range c.Conversations() {
			id := info.GetConversationId()
			seen := map[uint64]bool{}
			last := uint64(0)
			for _, e := range got[id] { // what was in the hands of a loop that was closed may come again
				if e.GetSeq() > last+1 || e.GetText().GetText() != logs[id][e.GetSeq()-1].GetText().GetText() {
					t.Errorf("%s got %s/%d %q after %d", name, id, e.GetSeq(), e.GetText().GetText(), last)
				}
				last = max(last, e.GetSeq())
				seen[e.GetSeq()] = true
			}
			if len(seen) != len(logs[id]) || len(got[id])-len(seen) > len(inboxes[name])-1 {
				t.Errorf("%s got %d entries of %s, %d of them new; want %d", name, len(got[id]), id, len(seen), len(logs[id]))
			}
			if server := w.srv.Unread(id, me); info.GetUnread() != server {
				t.Errorf("%s counts %d unread in %s; the server %d", name, info.GetUnread(), id, server)
			}
		}
		if got := c.Outbox(); len(got) != 0 {
			t.Errorf("outbox of %s = %d; want 0", name, len(got))
		}
	}
	if got := w.srv.Unacknowledged(); got != 0 {
		t.Errorf("unacknowledged entries = %d; want 0", got)
	}
}

// What was discarded while it was on its way stays discarded, also when the server refuses it then.
func TestDiscardOnTheWay(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		st := store.NewMemory()
		ann := w.start("ann", with(st))
		w.srv.Play("delay reply message.send by=2s")
		out, err := ann.Conversation(oceanchat.User("u9")).Enqueue(t.Context(), oceanchat.Text("to nobody"))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := ann.Discard(out.ID()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		ann.Close()
		if got, err := st.Load(t.Context()); err != nil || len(got.Outbox) != 0 {
			t.Errorf("outbox of the store = %v, %v; want it empty", got.Outbox, err)
		}
	})
}

// Before the first connection it is not known that two names are one conversation; the order is kept nevertheless.
func TestOrderByTwoNames(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ann := w.client(w.options("ann"))
		for i := range 20 {
			to := oceanchat.User("u2")
			if i%2 == 1 {
				to = oceanchat.ID(direct)
			}
			if _, err := ann.Conversation(to).Enqueue(t.Context(), oceanchat.Text(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		w.srv.Append(direct, "u2", "hi") // else the conversation is not there yet
		if err := ann.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		var want []string
		for i := range 20 {
			want = append(want, fmt.Sprint(i))
		}
		if d := cmp.Diff(want, w.texts(direct)[1:]); d != "" {
			t.Errorf("the log (-want +got):\n%s", d)
		}
	})
}

// A message that no frame can carry is refused here: the server would end the connection for it, again and again.
func TestTooLarge(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ann := w.start("ann")
		_, err := ann.Conversation(oceanchat.User("u2")).Send(t.Context(), oceanchat.Text(strings.Repeat("x", 70_000)))
		if !oceanchat.IsReason(err, "TOO_LARGE") {
			t.Errorf("Send of 70 kB = %v; want TOO_LARGE", err)
		}
		w.send(ann, oceanchat.User("u2"), "small")
		if got := w.srv.Requests("connect"); got != 1 {
			t.Errorf("connects = %d; want 1", got)
		}
	})
}

func TestFlush(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ann := w.client(w.options("ann"))
		for _, to := range []string{"u2", "u3", "u9"} { // the last is nobody
			if _, err := ann.Conversation(oceanchat.User(to)).Enqueue(t.Context(), oceanchat.Text("0")); err != nil {
				t.Fatal(err)
			}
		}
		if err := ann.Flush(t.Context()); !errors.Is(err, oceanchat.ErrNotStarted) {
			t.Errorf("Flush before Start = %v; want ErrNotStarted", err)
		}
		w.srv.Play("cut reply message.send times=3")
		if err := ann.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := ann.Flush(t.Context()); err != nil || len(w.texts(direct)) != 1 || len(ann.Outbox()) != 1 {
			t.Errorf("Flush = %v with %d in the log and %d in the outbox; want nil, 1, and the refused one", err, len(w.texts(direct)), len(ann.Outbox()))
		}
		w.srv.Play("lose request message.send times=-1")
		if _, err := ann.Conversation(oceanchat.User("u2")).Enqueue(t.Context(), oceanchat.Text("1")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := ann.Flush(ctx); !errors.Is(err, oceanchat.ErrPending) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Flush without answers = %v; want ErrPending", err)
		}
		ann.Close()
		var closed *oceanchat.ClosedError
		if err := ann.Flush(t.Context()); !errors.Is(err, oceanchat.ErrPending) || !errors.As(err, &closed) {
			t.Errorf("Flush after Close = %v; want ErrPending and a ClosedError", err)
		}
	})
}
