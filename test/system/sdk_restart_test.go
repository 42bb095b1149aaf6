package system

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/sqlitestore"
	"github.com/oceanchat/oceanchat/sdk/go/store"
	"github.com/oceanchat/oceanchat/test/client"
	"github.com/oceanchat/oceanchat/test/history"
)

const (
	fleetSize   = 12
	fleetRounds = 3
	fleetPause  = 10 * time.Millisecond // between two messages of one client
	fleetAhead  = 64                    // messages of one client that may be without an answer
	fleetMost   = 150                   // messages of one client in a round: a slow machine must come to an end, too
	fleetWait   = 90 * time.Second      // for anything; the tests' only bound on time
)

// fleet is clients of the SDK that talk to a group of all and to a neighbour each, half of them by WebSocket and half by
// TCP, some with a store in a file and some without.
type fleet struct {
	t       *testing.T
	s       *server
	at      *whereabouts
	users   []*client.User
	boats   []*boat
	group   string
	check   history.Checker
	sending sync.WaitGroup
}

// boat is one client of a fleet.
type boat struct {
	*oceanchat.Client
	opts    oceanchat.Options
	user    *client.User
	f       *fleet
	ahead   chan struct{} // has a token for each message without an answer
	waits   sync.WaitGroup
	reading chan struct{} // closed when the loop over entries has ended

	mu    sync.Mutex        // guards below
	heads map[string]uint64 // what the loop has got, by conversation
	wrong []string
}

func launch(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, s: start(t), at: &whereabouts{}}
	f.at.moved(f.s)
	ids := make([]string, fleetSize)
	for i := range fleetSize {
		u := f.s.user(fmt.Sprintf("boat%02d", i))
		f.users, ids[i] = append(f.users, u), u.ID
	}
	var made struct{ Group struct{ GroupID string } }
	if err := f.users[0].Do(t.Context(), "POST", "/groups", client.Object{"name": "Fleet", "memberIds": ids[1:]}, &made); err != nil {
		t.Fatal(err)
	}
	f.group = made.Group.GroupID
	for i, u := range f.users {
		f.boats = append(f.boats, f.boat(i, u))
	}
	return f
}

func (f *fleet) boat(i int, u *client.User) *boat {
	f.t.Helper()
	opts := oceanchat.Options{
		URL: "http://ocean.invalid", DialContext: f.at.dial, Username: u.Username, Password: u.Password, DeviceID: "sdk-" + u.Username,
	}
	if i%2 == 1 {
		opts.TCP = "tcp://tcp.invalid:1"
	}
	var st store.Store = store.NewMemory()
	if i%4 < 2 {
		file, err := sqlitestore.Open(filepath.Join(f.t.TempDir(), "client.db"))
		if err != nil {
			f.t.Fatal(err)
		}
		st = file
	}
	opts.Store = st
	b := &boat{opts: opts, user: u, f: f, ahead: make(chan struct{}, fleetAhead), heads: map[string]uint64{}}
	b.heads["g~"+f.group] = 1 // the notice of the group's creation stands before the first connection
	b.sail()
	f.t.Cleanup(func() {
		b.moor()
		_ = st.Close()
	})
	return b
}

// sail starts the client, with what it knows from before.
func (b *boat) sail() {
	b.f.t.Helper()
	c, err := oceanchat.New(b.opts)
	if err != nil {
		b.f.t.Fatal(err)
	}
	if err := c.Start(within(b.f.t, fleetWait)); err != nil {
		b.f.t.Fatalf("%s starts: %v", b.user.Username, err)
	}
	b.Client, b.reading = c, make(chan struct{})
	go b.read()
}

// moor ends the client.
func (b *boat) moor() {
	b.Close()
	<-b.reading
}

// read notes every entry and what is wrong with its order. Each comes once and in turn, so a double or a gap shows at once.
func (b *boat) read() {
	defer close(b.reading)
	for e, err := range b.Entries(context.Background(), oceanchat.Resume("fleet")) {
		if err != nil {
			return
		}
		b.f.check.Received(b.user.Username, entryOf(e))
		b.mu.Lock()
		if last := b.heads[e.GetConversationId()]; e.GetSeq() != last+1 {
			b.wrong = append(b.wrong, fmt.Sprintf("%s: %s got seq %d behind %d", e.GetConversationId(), b.user.Username, e.GetSeq(), last))
		}
		b.heads[e.GetConversationId()] = e.GetSeq()
		b.mu.Unlock()
	}
}

func entryOf(e *messagev1.Entry) history.Entry {
	return history.Entry{
		Conversation: e.GetConversationId(), Seq: e.GetSeq(), MessageID: e.GetMessageId(), ClientMsgID: e.GetClientMsgId(), Sender: e.GetSenderId(),
	}
}

// has reports whether the loop has got a conversation up to seq.
func (b *boat) has(conversation string, seq uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.heads[conversation] >= seq
}

// talk sends fleetMost messages, or until ctx ends, to the group and to a neighbour in turn, without waiting for answers. Whatever the server
// says in the end is noted.
func (b *boat) talk(ctx context.Context, neighbour string) {
	tick := time.NewTicker(fleetPause)
	defer tick.Stop()
	for n := range fleetMost {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case b.ahead <- struct{}{}:
		case <-ctx.Done():
			return
		}
		to, conversation := oceanchat.Group(b.f.group), "g~"+b.f.group
		if n%2 == 1 {
			to, conversation = oceanchat.User(neighbour), "d~"+min(b.user.ID, neighbour)+"~"+max(b.user.ID, neighbour)
		}
		out, err := b.Conversation(to).Enqueue(ctx, oceanchat.Text(fmt.Sprintf("%s says %d", b.user.Username, n)))
		if err != nil {
			if ctx.Err() == nil {
				b.f.t.Errorf("%s: Enqueue = %v; want nil", b.user.Username, err)
			}
			return
		}
		b.waits.Go(func() {
			b.await(out, conversation)
			<-b.ahead
		})
	}
}

func (b *boat) await(out *oceanchat.Outgoing, conversation string) {
	r, err := out.Wait(context.Background())
	var refused *oceanchat.Error
	switch {
	case err == nil:
		b.f.check.Acked(history.Entry{
			Conversation: r.ConversationID, Seq: r.Seq, MessageID: r.MessageID, ClientMsgID: out.ID(), Sender: b.user.ID,
		})
	case errors.As(err, &refused):
		b.f.check.Refused(b.user.ID, conversation, out.ID())
		b.f.t.Errorf("%s: %s was refused: %v", b.user.Username, out.ID(), err)
	default:
		b.f.t.Errorf("%s: %s has no fate: %v", b.user.Username, out.ID(), err)
	}
}

// through takes the server down and up again while everyone sends, and reports how long it takes until the last client
// is in sync: online, and with every entry that stood in the group's log when the server was back.
func (f *fleet) through(round int, down func()) {
	f.t.Helper()
	if round > 0 { // the clients begin anew too: one that comes from a failure waits longer after the next
		for _, b := range f.boats {
			b.waits.Wait()
			b.moor()
			b.sail()
		}
	}
	ctx, stop := context.WithCancel(f.t.Context())
	defer func() {
		stop()
		f.sending.Wait()
	}()
	for i, b := range f.boats {
		f.sending.Go(func() { b.talk(ctx, f.users[(i+1)%fleetSize].ID) })
	}
	before := f.check.AckedCount()
	f.until("messages are acknowledged", func() bool { return f.check.AckedCount() >= before+600 })
	began := time.Now()
	down()
	ended := time.Now()
	f.s.up()
	up := time.Now()
	f.at.moved(f.s)
	for _, u := range f.users {
		u.Base = f.s.base
	}
	var head struct {
		Conversation struct{ Head struct{ Seq uint64 } }
	}
	if err := f.users[0].Do(within(f.t, fleetWait), "GET", "/conversations/g~"+f.group, nil, &head); err != nil {
		f.t.Fatal(err)
	}
	f.until("all clients are online", func() bool { return f.all(func(b *boat) bool { return b.State().Phase == oceanchat.Online }) })
	online := time.Now()
	f.until("all clients are in sync", func() bool {
		return f.all(func(b *boat) bool { return b.has("g~"+f.group, head.Conversation.Head.Seq) })
	})
	synced := time.Now()
	f.t.Logf("round %d: %d acknowledged; the server was ended in %v and back after %v; the last of %d clients online %v and in sync %v after it was ready; %v in all",
		round, f.check.AckedCount(), ms(ended.Sub(began)), ms(up.Sub(ended)), fleetSize, ms(online.Sub(up)), ms(synced.Sub(up)), ms(synced.Sub(began)))
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

func (f *fleet) all(cond func(b *boat) bool) bool {
	return !slices.ContainsFunc(f.boats, func(b *boat) bool { return !cond(b) })
}

func (f *fleet) until(what string, cond func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(fleetWait); !cond(); pause() {
		if time.Now().After(deadline) {
			for _, b := range f.boats {
				f.t.Logf("%s: %+v, %d in the outbox", b.user.Username, b.State(), len(b.Outbox()))
			}
			f.t.Fatalf("not within %v: %s", fleetWait, what)
		}
	}
}

// judge waits until everything is sent and received, and compares what everyone saw with the logs.
func (f *fleet) judge() {
	f.t.Helper()
	f.until("all outboxes are empty", func() bool { return f.all(func(b *boat) bool { return len(b.Outbox()) == 0 }) })
	for _, u := range f.users {
		if err := u.Login(within(f.t, fleetWait)); err != nil {
			f.t.Fatalf("%s logs in: %v", u.Username, err)
		}
	}
	total := 0
	logs := map[string][]history.Entry{"g~" + f.group: readAll(f.t, f.users[0], "g~"+f.group)}
	for i, u := range f.users {
		b := f.users[(i+1)%fleetSize]
		logs[direct(u, b)] = readAll(f.t, u, direct(u, b))
	}
	for id, log := range logs {
		f.check.Log(id, log)
		total += len(log)
		f.until("everyone has received "+id, func() bool {
			return f.all(func(b *boat) bool { return !takesPart(b.user.ID, id) || b.has(id, uint64(len(log))) })
		})
	}
	for _, b := range f.boats {
		b.waits.Wait()
		b.moor()
		for _, w := range b.wrong {
			f.t.Error(w)
		}
		for id, head := range b.heads {
			if log := logs[id]; log != nil && head != uint64(len(log)) {
				f.t.Errorf("%s received %s up to %d; the log ends at %d", b.user.Username, id, head, len(log))
			}
		}
	}
	for _, v := range f.check.Violations() {
		f.t.Error(v)
	}
	if acked := f.check.AckedCount(); total != acked+1 { // and the notice of the group's creation
		f.t.Errorf("the logs hold %d entries; want the %d acknowledged ones and one notice", total, acked)
	}
}

func takesPart(user, conversation string) bool {
	return !strings.HasPrefix(conversation, "d~") || slices.Contains(strings.Split(conversation, "~"), user)
}

// Invariants 1 to 3, with clients of the SDK: kill -9 under load, several rounds. Nothing is lost, nothing is doubled,
// everyone gets everything once and in order.
func TestSDKFleetKilled(t *testing.T) {
	f := launch(t)
	for round := range fleetRounds {
		f.through(round, f.s.kill)
	}
	f.judge()
}

// The same for a server that is asked to end and leaves politely.
func TestSDKFleetRestarted(t *testing.T) {
	f := launch(t)
	for round := range fleetRounds - 1 {
		f.through(round, func() {
			if code := f.s.stop(); code != 0 {
				t.Errorf("exit code after SIGTERM = %d; want 0", code)
			}
		})
	}
	f.judge()
}
