package oceanchat_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/fakeserver"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

// faults is all that may go wrong, as words of a script; close comes with every code.
func faults() []string {
	all := []string{"lose", "delay by=700ms", "duplicate", "reorder", "cut", "cutmid", "fail UNAVAILABLE/OVERLOADED"}
	for _, code := range fakeserver.CloseCodes {
		all = append(all, fmt.Sprintf("close %d", code), fmt.Sprintf("close %d silent", code))
	}
	return all
}

// places is where, from the first byte of a client's life on.
var places = []string{
	"dial", "handshake", "request auth.login", "reply auth.login", "request connect", "reply connect", "request query.sync", "reply query.sync",
	"request message.send", "reply message.send", "request ack", "push entry", "request query.entries", "reply query.entries",
	"request ping", "reply ping", "reply query.getConversation", "request message.markRead", "reply message.markRead",
}

// terminal is the contract's table: after these codes a client stays away.
var terminal = map[string]oceanchat.Reason{
	"close 4002": oceanchat.SessionEnded, "close 4003": oceanchat.Replaced, "close 4004": oceanchat.ProtocolError,
}

// Every fault and every close code at every point: the client comes back or stays away as the contract says, and what
// was sent and received is whole in either case, after a restart with the same store where it stayed away.
func TestEveryFaultAtEveryPoint(t *testing.T) {
	t.Parallel()
	for _, place := range places {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			for _, fault := range faults() {
				t.Run(fault, func(t *testing.T) {
					inWorld(t, func(t *testing.T, w *world) { w.meet(t, fault, place) })
				})
			}
		})
	}
}

// meet lets ann live through one fault.
func (w *world) meet(t *testing.T, fault, place string) {
	reason := terminal[strings.TrimSuffix(fault, " silent")]
	if strings.HasPrefix(place, "dial") || strings.HasPrefix(place, "handshake") || strings.Contains(place, "auth.") {
		reason = "" // no connection that could be closed with a code
	}
	w.srv.PageSize = 1
	group := w.srv.AddGroup("g1", "u1", "u2")
	w.srv.Append(group, "u2", "before")
	w.srv.Append(direct, "u2", "before")
	words := strings.SplitN(fault, " ", 2)
	w.srv.Play(strings.Join(append([]string{words[0], place}, words[1:]...), " "))
	if strings.Contains(place, "query.entries") {
		w.srv.Play("lose push entry skip=1 times=2") // holes
	}
	o := w.options("ann")
	o.Store = store.NewMemory()
	o.Logger = nil // hundreds of worlds
	life := &life{w: w, t: t}
	c := w.client(o)
	life.enqueue(c, 2)
	end := life.run(c)
	if end != reason {
		t.Fatalf("state = %+v; want closed for %q", c.State(), reason)
	}
	if reason != "" { // what waits is sent by the next process
		c = w.client(o)
		if end := life.run(c); end != "" {
			t.Fatalf("after a restart the state = %+v; want online", c.State())
		}
	}
	if left := w.srv.Left(); left != 0 {
		t.Errorf("%d rules did not act", left)
	}
	life.check(c)
}

// life is what ann sends and receives, over restarts.
type life struct {
	w     *world
	t     *testing.T
	sent  int
	inbox []*messagev1.Entry
	news  string // the conversation that comes to ann meanwhile
}

// enqueue puts messages to bob into the outbox.
func (l *life) enqueue(c *oceanchat.Client, n int) {
	for range n {
		if _, err := c.Conversation(oceanchat.User("u2")).Enqueue(l.t.Context(), oceanchat.Text(fmt.Sprint("a", l.sent))); err != nil {
			l.t.Fatal(err)
		}
		l.sent++
	}
}

// run lets things happen to a client that starts: messages in both directions, silence, a cut. It returns why the client
// is closed.
func (l *life) run(c *oceanchat.Client) oceanchat.Reason {
	defer c.Close()
	if err := c.Start(l.t.Context()); err != nil {
		var closed *oceanchat.ClosedError
		if !errors.As(err, &closed) {
			l.t.Fatal(err)
		}
		return closed.Reason
	}
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e, err := range c.Entries(ctx, oceanchat.Resume("life")) {
			if err != nil {
				return
			}
			l.inbox = append(l.inbox, e)
		}
	}()
	synctest.Wait()
	for i := range 5 {
		l.w.srv.Append(direct, "u2", fmt.Sprint("b", i))
	}
	l.news = l.w.srv.AddGroup("g2", "u1", "u2")
	l.w.srv.Append(l.news, "u2", "welcome")
	l.enqueue(c, 2)
	time.Sleep(2 * time.Minute) // for pings too
	if c.State().Phase == oceanchat.Online {
		short, stop := context.WithTimeout(ctx, time.Minute)
		_ = c.Conversation(oceanchat.ID(direct)).MarkRead(short, 3) // the fault may cut it off; check does it again
		stop()
	}
	l.w.srv.CutAll()
	l.w.srv.Append(direct, "u2", "late")
	l.enqueue(c, 1)
	time.Sleep(5 * time.Minute)
	st := c.State()
	if st.Phase == oceanchat.Online {
		if err := c.Conversation(oceanchat.ID(direct)).MarkRead(ctx, 1000); err != nil {
			l.t.Errorf("MarkRead = %v; want nil", err)
		}
		if d := cmp.Diff([]oceanchat.Queued(nil), c.Outbox(), cmp.Transformer("len", func(q []oceanchat.Queued) int { return len(q) })); d != "" {
			l.t.Errorf("outbox (-want +got):\n%s", d)
		}
	}
	cancel()
	<-done
	return st.Reason
}

// check compares the server's log with what ann sent and received.
func (l *life) check(c *oceanchat.Client) {
	l.t.Helper()
	var sent []string
	for _, text := range l.w.texts(direct) {
		if strings.HasPrefix(text, "a") {
			sent = append(sent, text)
		}
	}
	var want []string
	for i := range l.sent {
		want = append(want, fmt.Sprint("a", i))
	}
	if d := cmp.Diff(want, sent); d != "" {
		l.t.Errorf("ann's messages in the log (-want +got):\n%s", d)
	}
	got := map[string][]uint64{}
	for _, e := range l.inbox {
		id := e.GetConversationId()
		if n := len(got[id]); n == 0 || got[id][n-1] != e.GetSeq() { // one may come again after a restart
			got[id] = append(got[id], e.GetSeq())
		}
	}
	for _, id := range []string{direct, l.news} {
		for i, seq := range got[id] {
			if i > 0 && seq != got[id][i-1]+1 {
				l.t.Errorf("entries of %s = %d; want no gap", id, got[id])
			}
		}
		if log, n := len(l.w.srv.Log(id)), len(got[id]); n == 0 || got[id][n-1] != uint64(log) {
			l.t.Errorf("entries of %s = %d; want them up to %d", id, got[id], log)
		}
	}
	for _, info := range c.Conversations() {
		if server := l.w.srv.Unread(info.GetConversationId(), "u1"); info.GetUnread() != server {
			l.t.Errorf("unread of %s = %d; the server has %d", info.GetConversationId(), info.GetUnread(), server)
		}
	}
}
