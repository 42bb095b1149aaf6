// Package fleet is people who talk: clients of the Go SDK that write to a group of all and to a neighbour each, without
// pause and through whatever happens to the server, and note what they were told and what they got. Judge holds that
// against the logs. It knows how a client sees the server and nothing of how the server is made.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/sqlitestore"
	"github.com/oceanchat/oceanchat/sdk/go/store"
	"github.com/oceanchat/oceanchat/test/client"
	"github.com/oceanchat/oceanchat/test/history"
)

// Options say who talks and how much. All but Name and Dir must be set.
type Options struct {
	URL, TCP string // where the server is: http://host:port, tcp://host:port
	// Dial opens the clients' sockets; nil is a net.Dialer. It is for servers that move.
	Dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	Name  string        // what usernames begin with
	Size  int           // clients, at least 2: every second one by TCP
	Every time.Duration // between two messages of one client
	Ahead int           // messages of one client that may be without an answer
	Dir   string        // where half of the clients keep their stores; "": all in memory
	// Loses says that the server may lose what it has acknowledged. Judge then finds nothing wrong in that, and Lost tells of it; and
	// a client may get another entry under a number that it has.
	Loses bool
}

// Fleet is clients that talk. Use Launch.
type Fleet struct {
	Group string // the id of the group of all
	Boats []*Boat
	Check history.Checker

	o       Options
	sending sync.WaitGroup
	lastAck atomic.Int64 // nanoseconds since the epoch
	longest atomic.Int64 // nanoseconds between two acknowledgements, since the last Mark
	breaks  atomic.Int64 // connections lost, since the last Mark

	mu    sync.Mutex        // guards below
	acked map[string]uint64 // the highest acknowledged seq, by conversation
	wrong []string
	at    map[string]time.Time // when it was acknowledged, by clientMsgId, if Loses
	lost  []Loss
	stale []string
}

// Boat is one client of a fleet.
type Boat struct {
	*oceanchat.Client
	User *client.User

	f       *Fleet
	opts    oceanchat.Options
	file    *sqlitestore.Store // nil: in memory
	ahead   chan struct{}      // has a token for each message without an answer
	waits   sync.WaitGroup
	reading sync.WaitGroup

	mu    sync.Mutex                   // guards both
	heads map[string]uint64            // what the loop over entries has got, by conversation
	view  map[string]map[uint64]string // the ids of messages by conversation and seq, if the fleet Loses
}

// Launch registers the users, makes the group, and returns when every client is online. ctx bounds that.
func Launch(ctx context.Context, o Options) (*Fleet, error) {
	f := &Fleet{o: o, acked: map[string]uint64{}, at: map[string]time.Time{}}
	for i := range o.Size {
		u, err := client.Register(ctx, o.URL, fmt.Sprintf("%sboat%02d", o.Name, i))
		if err != nil {
			return nil, fmt.Errorf("register: %w", err)
		}
		f.Boats = append(f.Boats, &Boat{User: u, f: f})
	}
	var ids []string
	for _, b := range f.Boats[1:] {
		ids = append(ids, b.User.ID)
	}
	var made struct{ Group struct{ GroupID string } }
	if err := f.Boats[0].User.Do(ctx, "POST", "/groups", client.Object{"name": "Fleet", "memberIds": ids}, &made); err != nil {
		return nil, fmt.Errorf("make the group: %w", err)
	}
	f.Group = made.Group.GroupID
	for i, b := range f.Boats {
		if err := b.fitOut(i); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if err := b.Sail(ctx); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	f.Mark()
	return f, nil
}

// fitOut says how the client of this number connects and what it keeps.
func (b *Boat) fitOut(i int) error {
	o := &b.f.o
	b.opts = oceanchat.Options{
		URL: o.URL, DialContext: o.Dial, Username: b.User.Username, Password: b.User.Password, DeviceID: "sdk-" + b.User.Username,
		Store: store.NewMemory(),
	}
	if i%2 == 1 {
		b.opts.TCP = o.TCP
	}
	if i%4 < 2 && o.Dir != "" {
		file, err := sqlitestore.Open(filepath.Join(o.Dir, b.User.Username+".db"))
		if err != nil {
			return err
		}
		b.file, b.opts.Store = file, file
	}
	b.ahead = make(chan struct{}, o.Ahead)
	b.view = map[string]map[uint64]string{}
	b.heads = map[string]uint64{"g~" + b.f.Group: 1} // the notice of the group's creation stands before the first connection
	return nil
}

// Sail starts the client, with what it knows from before, and returns when it is online.
func (b *Boat) Sail(ctx context.Context) error {
	c, err := oceanchat.New(b.opts)
	if err != nil {
		return err
	}
	if err := c.Start(ctx); err != nil {
		return fmt.Errorf("%s starts: %w", b.User.Username, err)
	}
	b.Client = c
	b.reading.Go(b.read)
	b.reading.Go(b.watch)
	return nil
}

// Moor ends the client.
func (b *Boat) Moor() {
	if b.Client != nil {
		b.Client.Close()
		b.reading.Wait()
	}
}

// watch counts the connections that are lost.
func (b *Boat) watch() {
	online := false
	for st := range b.States(context.Background()) {
		if online && st.Phase == oceanchat.Waiting {
			b.f.breaks.Add(1)
		}
		online = st.Phase == oceanchat.Online
	}
}

// read notes every entry. Each comes once and in turn, so a double or a gap shows at once.
func (b *Boat) read() {
	for e, err := range b.Entries(context.Background(), oceanchat.Resume("fleet")) {
		if err != nil {
			return
		}
		id := e.GetConversationId()
		if b.f.o.Loses {
			b.see(e)
			continue
		}
		b.f.Check.Received(b.User.Username, entryOf(e))
		b.mu.Lock()
		if last := b.heads[id]; e.GetSeq() != last+1 {
			b.f.say("%s: %s got seq %d behind %d", id, b.User.Username, e.GetSeq(), last)
		}
		b.heads[id] = e.GetSeq()
		b.mu.Unlock()
	}
}

// see notes an entry, which may come in place of one that was lost: then those behind it are lost too.
func (b *Boat) see(e *messagev1.Entry) {
	id := e.GetConversationId()
	b.mu.Lock()
	defer b.mu.Unlock()
	if last := b.heads[id]; e.GetSeq() > last+1 {
		b.f.say("%s: %s got seq %d behind %d", id, b.User.Username, e.GetSeq(), last)
	}
	if b.view[id] == nil {
		b.view[id] = map[uint64]string{}
	}
	maps.DeleteFunc(b.view[id], func(seq uint64, _ string) bool { return seq > e.GetSeq() })
	b.view[id][e.GetSeq()] = e.GetMessageId()
	b.heads[id] = e.GetSeq()
}

func entryOf(e *messagev1.Entry) history.Entry {
	return history.Entry{
		Conversation: e.GetConversationId(), Seq: e.GetSeq(), MessageID: e.GetMessageId(), ClientMsgID: e.GetClientMsgId(), Sender: e.GetSenderId(),
	}
}

func (f *Fleet) say(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrong = append(f.wrong, fmt.Sprintf(format, args...))
}

// Has reports whether the client has got a conversation up to seq.
func (b *Boat) Has(conversation string, seq uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.heads[conversation] >= seq
}

// Talk lets everyone send until ctx ends; then it returns, and answers may still be on their way.
func (f *Fleet) Talk(ctx context.Context) {
	for i, b := range f.Boats {
		f.sending.Go(func() { b.talk(ctx, f.Boats[(i+1)%len(f.Boats)].User.ID) })
	}
	f.sending.Wait()
}

// talk sends to the group and to a neighbour in turn, without waiting for answers.
func (b *Boat) talk(ctx context.Context, neighbour string) {
	tick := time.NewTicker(b.f.o.Every)
	defer tick.Stop()
	for n := 0; ; n++ {
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
		to, conversation := oceanchat.Group(b.f.Group), "g~"+b.f.Group
		if n%2 == 1 {
			to, conversation = oceanchat.User(neighbour), Direct(b.User.ID, neighbour)
		}
		out, err := b.Conversation(to).Enqueue(ctx, oceanchat.Text(fmt.Sprintf("%s says %d", b.User.Username, n)))
		if err != nil {
			if ctx.Err() == nil {
				b.f.say("%s: Enqueue = %v; want nil", b.User.Username, err)
			}
			return
		}
		b.waits.Go(func() {
			b.await(out, conversation)
			<-b.ahead
		})
	}
}

func (b *Boat) await(out *oceanchat.Outgoing, conversation string) {
	r, err := out.Wait(context.Background())
	var refused *oceanchat.Error
	switch {
	case err == nil:
		b.f.Check.Acked(history.Entry{
			Conversation: r.ConversationID, Seq: r.Seq, MessageID: r.MessageID, ClientMsgID: out.ID(), Sender: b.User.ID,
		})
		b.f.acknowledged(r.ConversationID, r.Seq, out.ID())
	case errors.As(err, &refused):
		b.f.Check.Refused(b.User.ID, conversation, out.ID())
		b.f.say("%s: %s was refused: %v", b.User.Username, out.ID(), err)
	default:
		b.f.say("%s: %s has no fate: %v", b.User.Username, out.ID(), err)
	}
}

func (f *Fleet) acknowledged(conversation string, seq uint64, clientMsgID string) {
	at := time.Now()
	now := at.UnixNano()
	pause := now - f.lastAck.Swap(now)
	for {
		longest := f.longest.Load()
		if pause <= longest || f.longest.CompareAndSwap(longest, pause) {
			break
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acked[conversation] = max(f.acked[conversation], seq)
	if f.o.Loses {
		f.at[clientMsgID] = at
	}
}

// Mark begins a new count of lost connections and of the longest time without an acknowledgement.
func (f *Fleet) Mark() {
	f.lastAck.Store(time.Now().UnixNano())
	f.longest.Store(0)
	f.breaks.Store(0)
}

// Since tells how many connections were lost since Mark, and how long the longest time was in which nobody's message was
// acknowledged; the last one counts up to now.
func (f *Fleet) Since() (lost int, silence time.Duration) {
	silence = time.Since(time.Unix(0, f.lastAck.Load()))
	return int(f.breaks.Load()), max(silence, time.Duration(f.longest.Load()))
}

// Heads returns the highest seq that was acknowledged in each conversation until now.
func (f *Fleet) Heads() map[string]uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.acked)
}

// Direct returns the id of the conversation of two users.
func Direct(a, b string) string { return "d~" + min(a, b) + "~" + max(a, b) }

func takesPart(user, conversation string) bool {
	return !strings.HasPrefix(conversation, "d~") || slices.Contains(strings.Split(conversation, "~"), user)
}
