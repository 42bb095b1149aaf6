package oceanchat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

const (
	// MaxOutbox is how many messages may wait, those that failed included.
	MaxOutbox   = 10_000
	maxSending  = 16 // conversations that are sent to at the same time
	sendTimeout = 15 * time.Second
)

// outbox is what is to be sent: a queue per conversation. It is guarded by the client's mutex.
type outbox struct {
	items  map[string]*item // by id, the failed ones too
	queues map[string]*queue
	lastN  uint64
	wake   chan struct{} // has a token when there may be something to send
}

// queue holds the messages to one conversation; only the first is sent.
type queue struct {
	name  string
	items []*item
	busy  bool
	tries int
	after time.Time // not to be tried before
}

// item is one message.
type item struct {
	store.Item
	req    *messagev1.SendRequest
	q      *queue // where it waits; nil when it does not
	resend bool   // the next attempt is not known to be the first
	tried  bool   // it has left this process's hands: it can not be taken back
	failed *Error
	kept   bool          // stays here when it fails, until the application looks at it
	done   chan struct{} // closed when the fate is known, or the item is gone
	sent   Receipt
	err    error
}

func newOutbox() outbox {
	return outbox{items: map[string]*item{}, queues: map[string]*queue{}, wake: make(chan struct{}, 1)}
}

// load takes what an earlier process left. Whether it was sent is not known.
func (o *outbox) load(me string, items []store.Item) error {
	for _, stored := range items {
		it := &item{Item: stored, req: &messagev1.SendRequest{}, resend: true, tried: true, kept: true, done: make(chan struct{})}
		if err := proto.Unmarshal(stored.Request, it.req); err != nil {
			return fmt.Errorf("message %s of the outbox: %w", stored.ID, err)
		}
		o.lastN = max(o.lastN, stored.N)
		if o.items[it.ID] = it; len(stored.Failed) == 0 {
			o.push(me, it)
			continue
		}
		var w wirev1.Error
		if err := proto.Unmarshal(stored.Failed, &w); err != nil {
			return fmt.Errorf("message %s of the outbox: %w", stored.ID, err)
		}
		it.end(Receipt{}, fromWire(&w))
		it.failed = fromWire(&w)
	}
	return nil
}

// lane returns the name of the queue of a message: the same for all ways to name a target, as far as that is known.
func lane(me string, r *messagev1.SendRequest) string {
	switch other := between(r.GetConversationId(), me); {
	case r.GetToUserId() != "":
		return "user " + r.GetToUserId()
	case other != "":
		return "user " + other
	case strings.HasPrefix(r.GetConversationId(), "g~"):
		return "group " + r.GetConversationId()[2:]
	case r.GetGroupId() != "":
		return "group " + r.GetGroupId()
	}
	return r.GetConversationId()
}

func (o *outbox) push(me string, it *item) {
	name := lane(me, it.req)
	q := o.queues[name]
	if q == nil {
		q = &queue{name: name}
		o.queues[name] = q
	}
	it.q, q.items = q, append(q.items, it)
	o.poke()
}

// sort makes the queues anew once it is known who the user is: two names of one direct conversation may have been two
// queues before. Nothing is being sent then.
func (o *outbox) sort(me string) {
	clear(o.queues)
	for _, it := range slices.SortedFunc(maps.Values(o.items), byN) {
		if it.failed == nil {
			o.push(me, it)
		}
	}
}

func byN(a, b *item) int { return cmp.Compare(a.N, b.N) }

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// drop takes an item out of its queue.
func (o *outbox) drop(it *item) {
	q := it.q
	if q == nil {
		return
	}
	it.q = nil
	if q.items[0] == it { // as a rule, and the others stay where they are
		q.items[0] = nil
		q.items = q.items[1:]
	} else {
		q.items = slices.DeleteFunc(q.items, func(x *item) bool { return x == it })
	}
	o.tidy(q)
}

// tidy forgets a queue that is empty.
func (o *outbox) tidy(q *queue) {
	if len(q.items) == 0 && !q.busy && o.queues[q.name] == q {
		delete(o.queues, q.name)
	}
}

func (it *item) end(sent Receipt, err error) {
	select {
	case <-it.done:
	default:
		it.sent, it.err = sent, err
		close(it.done)
	}
}

// enqueue stores a message and queues it. A message whose id is there already is that one. An id that the application
// named may have been sent by an earlier process, which the Store does not know any more.
func (c *Client) enqueue(ctx context.Context, req *messagev1.SendRequest, named, kept bool) (*item, error) {
	if err := c.load(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o := &c.outbox
	if it := o.items[req.GetClientMsgId()]; it != nil {
		it.kept = it.kept || kept
		return it, nil
	}
	if len(o.items) >= MaxOutbox {
		return nil, ErrOutboxFull
	}
	b, err := proto.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	it := &item{
		Item: store.Item{ID: req.GetClientMsgId(), N: o.lastN + 1, Request: b}, req: req, resend: named, kept: kept, done: make(chan struct{}),
	}
	if err := c.commit(store.Batch{Put: []store.Item{it.Item}}); err != nil {
		return nil, err
	}
	o.lastN++
	o.items[it.ID] = it
	o.push(c.meta.UserID, it)
	return it, nil
}

// sendLoop sends what waits until the session ends. offered is closed after the first look.
func (c *Client) sendLoop(s *session, offered chan struct{}) {
	for first := true; ; first = false {
		wait := c.sendReady(s)
		if first {
			close(offered)
		}
		t := time.NewTimer(wait)
		select {
		case <-c.outbox.wake:
			t.Stop()
		case <-t.C:
		case <-s.ctx.Done():
			t.Stop()
			return
		}
	}
}

// sendReady starts to send the first message of each queue whose turn it is, and returns when to look again.
func (c *Client) sendReady(s *session) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait, busy := time.Hour, 0
	for _, q := range c.outbox.queues {
		if q.busy {
			busy++
		}
	}
	for _, q := range c.outbox.queues {
		if q.busy || len(q.items) == 0 || busy >= maxSending {
			continue
		}
		if d := time.Until(q.after); d > 0 {
			wait = min(wait, d)
			continue
		}
		busy++
		q.busy = true
		it := q.items[0]
		s.wg.Go(func() { c.sendItem(s, q, it) })
	}
	return wait
}

// sendItem makes one attempt to send a message.
func (c *Client) sendItem(s *session, q *queue, it *item) {
	c.mu.Lock()
	req := proto.CloneOf(it.req)
	req.Resend, it.resend, it.tried = it.resend, true, true
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.ctx, sendTimeout)
	resp := &messagev1.SendResponse{}
	err := s.call(ctx, laneSend, "message.send", req, resp)
	cancel()

	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.outbox.poke()
	q.busy = false
	var refused *Error
	switch {
	case err == nil:
		q.tries, q.after = 0, time.Time{}
		c.acknowledged(s, it, resp)
	case errors.As(err, &refused) && refused.definite():
		q.tries, q.after = 0, time.Time{}
		c.failed(it, refused)
	case errors.As(err, &refused):
		q.after = time.Now().Add(max(refused.RetryAfter, backoff(q.tries)))
		q.tries++
	case s.ctx.Err() == nil: // no answer in time
		q.after = time.Now().Add(backoff(q.tries))
		q.tries++
	}
	c.outbox.tidy(q)
}

// acknowledged ends an item that the log has. Its entry is known by the answer: nobody waits for the push.
func (c *Client) acknowledged(s *session, it *item, r *messagev1.SendResponse) {
	delete(c.outbox.items, it.ID)
	c.outbox.drop(it)
	if err := c.commit(store.Batch{Remove: []string{it.ID}}); err != nil {
		c.log.Warn("sent message not taken out of the outbox, it may be sent again with its id", "id", it.ID, "err", err)
	}
	if c.session == s {
		_ = c.offerLocked(s, &messagev1.Entry{ // an error ended the session
			ConversationId: r.GetConversationId(), Seq: r.GetSeq(), Ordinal: r.GetOrdinal(), MessageId: r.GetMessageId(),
			ClientMsgId: it.ID, Kind: messagev1.EntryKind_ENTRY_KIND_TEXT, SenderId: c.meta.UserID, SentAt: r.GetSentAt(),
			Body: &messagev1.Entry_Text{Text: it.req.GetText()}, ReplyTo: it.req.ReplyTo,
		})
	}
	it.end(Receipt{
		ConversationID: r.GetConversationId(), MessageID: r.GetMessageId(), Seq: r.GetSeq(), Ordinal: r.GetOrdinal(),
		SentAt: r.GetSentAt().AsTime(),
	}, nil)
}

// failed ends an item that the server will not take. One that nobody waits for stays, to be looked at.
func (c *Client) failed(it *item, why *Error) {
	c.outbox.drop(it)
	c.log.Warn("message refused", "id", it.ID, "reason", why.Reason)
	b := store.Batch{Remove: []string{it.ID}}
	if it.kept && c.outbox.items[it.ID] == it { // else it was discarded meanwhile
		it.failed = why
		it.Failed, _ = proto.Marshal(why.toWire()) // strings of an error that came over the wire
		b = store.Batch{Put: []store.Item{it.Item}}
	} else {
		delete(c.outbox.items, it.ID)
	}
	if err := c.commit(b); err != nil {
		c.log.Warn("refused message not noted", "id", it.ID, "err", err)
	}
	it.end(Receipt{}, why)
}

// settleAll tells all waiters that nothing is sent any more.
func (c *Client) settleAll(end *ClosedError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, it := range c.outbox.items {
		it.end(Receipt{}, fmt.Errorf("%w: %w", ErrPending, end))
	}
}

// Queued is a message that is in the outbox.
type Queued struct {
	ID      string
	Request *messagev1.SendRequest // not to be changed
	Err     *Error                 // why the server refused it; nil while it is to be sent
}

// Outbox returns what waits to be sent and what was refused, in the order of sending.
func (c *Client) Outbox() []Queued {
	c.mu.Lock()
	defer c.mu.Unlock()
	items := make([]*item, 0, len(c.outbox.items))
	for _, it := range c.outbox.items {
		items = append(items, it)
	}
	slices.SortFunc(items, byN)
	out := make([]Queued, len(items))
	for i, it := range items {
		out[i] = Queued{it.ID, it.req, it.failed}
	}
	return out
}

// Flush waits until nothing is to be sent any more; what was refused does not count. It returns ErrPending with the
// context's error, or with a *ClosedError: then the rest stays in the Store.
func (c *Client) Flush(ctx context.Context) error {
	for {
		c.mu.Lock()
		st, it := c.state, c.outbox.first()
		c.mu.Unlock()
		switch {
		case it == nil:
			return nil
		case st.Phase == Idle:
			return ErrNotStarted
		case st.Phase == Closed:
			return fmt.Errorf("%w: %w", ErrPending, &ClosedError{st.Reason, st.Err})
		}
		select {
		case <-it.done:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrPending, ctx.Err())
		}
	}
}

// first returns a message that is to be sent, or nil.
func (o *outbox) first() *item {
	for _, q := range o.queues {
		if len(q.items) > 0 {
			return q.items[0]
		}
	}
	return nil
}

// Discard takes a message out of the outbox. One that is on its way may arrive nevertheless.
func (c *Client) Discard(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	it := c.outbox.items[id]
	if it == nil {
		return nil
	}
	if err := c.commit(store.Batch{Remove: []string{id}}); err != nil {
		return err
	}
	delete(c.outbox.items, id)
	c.outbox.drop(it)
	it.end(Receipt{}, ErrDiscarded)
	return nil
}

// Retry sends a refused message again, behind what waits for its conversation.
func (c *Client) Retry(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	it := c.outbox.items[id]
	if it == nil || it.failed == nil {
		return nil
	}
	fresh := &item{Item: it.Item, req: it.req, resend: true, tried: true, kept: true, done: make(chan struct{})}
	fresh.Failed, fresh.N = nil, c.outbox.lastN+1
	if err := c.commit(store.Batch{Put: []store.Item{fresh.Item}}); err != nil {
		return err
	}
	c.outbox.lastN++
	c.outbox.items[id] = fresh
	c.outbox.push(c.meta.UserID, fresh)
	return nil
}
