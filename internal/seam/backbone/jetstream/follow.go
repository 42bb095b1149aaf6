package jetstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	js "github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

const (
	pinGroup   = "reader"
	pinTTL     = 6 * time.Second // how long a reader that vanished keeps others waiting
	pullExpiry = pinTTL / 3      // each pull renews the pin
	// ackWait is after how long the server repeats what is not acknowledged. A reader does not rely
	// on it, except for a message that got lost on the way to it and that no other one follows.
	ackWait = 30 * time.Second
	// ackEvery is how often a reader acknowledges while messages come: with replicas each acknowledgement is a write of
	// its own to every one of them. A reader that dies leaves as much to be handled again.
	ackEvery = time.Second
	// ackPending bounds what is handled and not acknowledged, well below MaxAckPending.
	ackPending = 4 << 10
	// resetAgain is how long a reset may stay without its message while others arrive.
	resetAgain = 2 * time.Second
	// lookEvery is how often a reader that nothing comes to looks at its consumer.
	lookEvery = pinTTL / 2
	// runBytes bounds a run, and what is on the way to this process; a single message may be longer.
	runBytes = 8 << 20
	// pumped is how many messages wait between the connection and the reader.
	pumped = 64
)

// Follow implements backbone.Log. A session is one consumer and its iterator; whatever goes wrong
// with them ends the session, and the next one begins with a reset.
func (l *stream) Follow(ctx context.Context, r backbone.Reader) error {
	if err := backbone.CheckName(r.Name); err != nil {
		return err
	}
	if r.Handle == nil {
		return errors.New("backbone: a reader needs Handle")
	}
	r.MaxBatch = orDefault(r.MaxBatch, 256)
	r.Backoff = orDefault(r.Backoff, 100*time.Millisecond)
	r.MaxBackoff = max(orDefault(r.MaxBackoff, 5*time.Second), r.Backoff)
	f := &follower{l: l, r: r}
	for ctx.Err() == nil {
		began := time.Now()
		err := f.session(ctx)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > pinTTL {
			f.sessions = 0
		}
		f.sessions++
		f.failed(ctx, fmt.Errorf("read %s as %s: %w", l.name, r.Name, err), f.sessions)
	}
	return nil
}

// follower is the state of one Follow. Only its own goroutine touches it.
type follower struct {
	l        *stream
	r        backbone.Reader
	c        js.Consumer
	sessions int // in a row that failed soon

	pin      string // under which messages arrive; "" while waiting for the first
	heard    bool   // a message came since the last look
	position uint64 // up to which messages were taken into a run
	handled  uint64 // up to which the runs are done; it may lead the server's ack floor
	resetAt  time.Time
	awaiting bool // a reset was made and its message has not arrived
	placed   bool // a reset was made and nobody else has been pinned since

	run   []backbone.Message
	last  js.Msg // of the run: acknowledging it acknowledges all
	bytes int

	unacked js.Msg // the last that is handled and not acknowledged; nil for none
	pending int    // how many messages that acknowledges
	ackedAt time.Time

	done        uint64 // the last that this reader has handled itself, in
	incarnation string // this stream; "" for none
}

func (f *follower) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	memory, err := f.inMemory(ctx)
	if err != nil {
		return fmt.Errorf("look for consumer: %w", err)
	}
	c, err := f.l.s.CreateOrUpdateConsumer(ctx, js.ConsumerConfig{
		Durable:        f.r.Name,
		MemoryStorage:  memory,
		DeliverPolicy:  js.DeliverAllPolicy,
		AckPolicy:      js.AckAllPolicy,
		AckWait:        ackWait,
		MaxDeliver:     -1,
		MaxAckPending:  16 << 10,
		PriorityPolicy: js.PriorityPolicyPinned,
		PriorityGroups: []string{pinGroup},
		PinnedTTL:      pinTTL,
	})
	if err != nil {
		return fmt.Errorf("open consumer: %w", err)
	}
	it, err := c.Messages(js.PullPriorityGroup(pinGroup), js.PullExpiry(pullExpiry), js.PullHeartbeat(pullExpiry/2),
		js.PullMaxMessagesWithBytesLimit(max(f.r.MaxBatch, pumped), runBytes), js.WithMessagesErrOnMissingHeartbeat(false))
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	f.c, f.pin, f.heard, f.awaiting, f.placed, f.handled = c, "", false, false, false, 0
	f.drop()
	msgs, ended := make(chan js.Msg, pumped), make(chan error, 1)
	go func() { ended <- pump(ctx, it, msgs) }()
	err = f.loop(ctx, msgs, ended)
	cancel()
	it.Stop()
	<-ended
	f.release(ctx)
	return err
}

// inMemory tells whether the servers keep the reader's state in memory alone: that of a reader that keeps its position
// itself. Where the consumer exists already it stays as it is, as the server cannot change that.
func (f *follower) inMemory(ctx context.Context) (bool, error) {
	c, err := f.l.s.Consumer(ctx, f.r.Name)
	switch {
	case err == nil:
		return c.CachedInfo().Config.MemoryStorage, nil
	case errors.Is(err, js.ErrConsumerNotFound):
		return f.r.Start != nil, nil
	default:
		return false, err
	}
}

// pump passes deliveries on until the iterator fails; it closes msgs.
func pump(ctx context.Context, it js.MessagesContext, msgs chan<- js.Msg) error {
	defer close(msgs)
	for {
		m, err := it.Next(js.NextContext(ctx))
		if err != nil {
			return err
		}
		select {
		case msgs <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *follower) loop(ctx context.Context, msgs <-chan js.Msg, ended chan error) error {
	look, ack := time.NewTicker(lookEvery), time.NewTicker(ackEvery)
	defer look.Stop()
	defer ack.Stop()
	if err := f.look(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
			if err := f.look(ctx); err != nil {
				return err
			}
		case <-ack.C:
			if err := f.ackHandled(ctx); err != nil {
				return err
			}
		case m, ok := <-msgs:
			for more := ok; more; { // what has arrived, and not more
				if err := f.take(ctx, m); err != nil {
					return err
				}
				if len(f.run) >= f.r.MaxBatch || f.bytes >= runBytes {
					break
				}
				select {
				case m, ok = <-msgs:
					more = ok
				default:
					more = false
				}
			}
			if err := f.handle(ctx); err != nil {
				return err
			}
			if !ok {
				err := <-ended
				ended <- err // session waits for it too
				return err
			}
		}
	}
}

// look makes up for what neither server nor driver does by itself. A consumer that is gone with its server's disk is
// waited for in silence: the error ends the session, and the next one makes it anew. And when nobody is pinned, what was
// delivered to a reader that died would come back only after ackWait: a reset brings it now.
func (f *follower) look(ctx context.Context) error {
	if f.heard {
		f.heard = false
		return nil
	}
	i, err := f.c.Info(ctx)
	if err != nil {
		return fmt.Errorf("look at consumer: %w", err)
	}
	pin := ""
	if len(i.PriorityGroups) > 0 {
		pin = i.PriorityGroups[0].PinnedClientID
	}
	if f.pin != pin {
		f.pin, f.unacked = "", nil
	}
	if pin != "" {
		f.placed = false
		return nil
	}
	if i.NumAckPending == 0 && i.NumPending == 0 && (f.placed || f.r.Start == nil) {
		return nil // nothing to bring; a reset costs the server a write
	}
	return f.reset(ctx)
}

// take puts m into the run if it is the next message, drops what is old, and sets the consumer
// back on a new pin and at a hole.
func (f *follower) take(ctx context.Context, m js.Msg) error {
	f.heard = true
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("metadata of a delivery: %w", err)
	}
	if pin := m.Headers().Get("Nats-Pin-Id"); pin != f.pin {
		f.pin, f.unacked = pin, nil
		return f.reset(ctx) // m comes again, or is old
	}
	seq := meta.Sequence.Stream
	// The first delivery after a reset has the consumer's own sequence 1. What was under way before
	// must not be taken: acknowledging it would spoil the server's count.
	if f.awaiting && meta.Sequence.Consumer != 1 || seq <= f.position {
		return f.old(ctx, m, seq)
	}
	if seq > f.position+1 {
		passed, err := f.purgedUpTo(ctx, seq)
		if err != nil {
			return err
		}
		if !passed {
			if f.awaiting && time.Since(f.resetAt) < resetAgain {
				return nil
			}
			return f.reset(ctx)
		}
	}
	f.awaiting, f.position, f.last = false, seq, m
	f.run = append(f.run, backbone.Message{Seq: seq, Time: meta.Timestamp, Data: m.Data()})
	f.bytes += len(m.Data())
	return nil
}

// old drops a message. The server ignores the acknowledgement of what it has not delivered since a
// reset; so when the last message that is done comes by again, it is acknowledged again.
func (f *follower) old(ctx context.Context, m js.Msg, seq uint64) error {
	if f.awaiting && time.Since(f.resetAt) > resetAgain {
		return f.reset(ctx)
	}
	if !f.awaiting && seq == f.handled {
		f.ack(ctx, m)
	}
	return nil
}

// ack is not awaited: one that is lost is made up for by the next one, or by a reset.
func (f *follower) ack(ctx context.Context, m js.Msg) {
	if err := m.Ack(); err != nil {
		f.l.b.log.DebugContext(ctx, "acknowledgement not sent", "reader", f.r.Name, "err", err)
	}
}

// purgedUpTo tells whether all between the position and seq was purged. What the run holds already
// is handled first: its caller sees no hole inside a run.
func (f *follower) purgedUpTo(ctx context.Context, seq uint64) (bool, error) {
	i, err := f.l.Info(ctx)
	if err != nil || i.First < seq {
		return false, err
	}
	return true, f.handle(ctx)
}

// reset sets the consumer to the reader's position and forgets the run, which comes again.
func (f *follower) reset(ctx context.Context) error {
	f.drop()
	f.unacked = nil
	for try := 1; ctx.Err() == nil; try++ {
		err := f.resetOnce(ctx)
		if err == nil {
			f.awaiting, f.placed, f.resetAt, f.handled = true, true, time.Now(), 0
			return nil
		}
		f.failed(ctx, fmt.Errorf("set back reader %s of %s: %w", f.r.Name, f.l.name, err), try)
		if errors.Is(err, js.ErrConsumerNotFound) {
			return err
		}
	}
	return ctx.Err()
}

func (f *follower) resetOnce(ctx context.Context) error {
	i, err := f.l.Info(ctx)
	if err != nil {
		return err
	}
	if i.Incarnation != f.incarnation {
		f.incarnation, f.done = i.Incarnation, 0
	}
	if f.r.Start == nil {
		return f.resetToFloor(ctx)
	}
	start, err := f.r.Start(ctx)
	if err != nil {
		return fmt.Errorf("read its position: %w", err)
	}
	if start > i.Last { // it would wait for ever, and skip what comes
		return fmt.Errorf("position %d is beyond the log's last %d", start, i.Last)
	}
	if _, err := f.l.b.js.ResetConsumerToSequence(ctx, f.l.name, f.r.Name, start+1); err != nil {
		return err
	}
	f.position = start
	return nil
}

// resetToFloor sets the consumer to its ack floor, or to what this reader has handled itself beyond that: two readers that
// lose their place to each other again and again get on nevertheless.
func (f *follower) resetToFloor(ctx context.Context) error {
	a, err := f.l.b.js.ResetConsumer(ctx, f.l.name, f.r.Name)
	if err == nil && f.done >= a.ResetSeq {
		a, err = f.l.b.js.ResetConsumerToSequence(ctx, f.l.name, f.r.Name, f.done+1)
	}
	if err == nil {
		f.position = a.ResetSeq - 1
	}
	return err
}

// handle gives the run to the reader until it is done.
func (f *follower) handle(ctx context.Context) error {
	if len(f.run) == 0 {
		return nil
	}
	for try := 1; ; try++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := f.r.Handle(ctx, f.run)
		if err == nil {
			break
		}
		f.failed(ctx, err, try)
	}
	f.handled = f.run[len(f.run)-1].Seq
	f.done = f.handled
	f.unacked = f.last
	f.pending += len(f.run)
	f.drop()
	if f.pending < ackPending && time.Since(f.ackedAt) < ackEvery {
		return nil
	}
	return f.ackHandled(ctx)
}

// errTaken ends a session whose reader has lost its place to another.
var errTaken = errors.New("another reader has taken over")

// ackHandled acknowledges what is handled and not acknowledged yet. It asks first whether another reader was given the
// messages meanwhile, as happens to one that stood still or handled a run for long: an acknowledgement from before the
// other's reset would spoil the server's count, and the floor would stand still for long.
func (f *follower) ackHandled(ctx context.Context) error {
	if f.unacked == nil {
		return nil
	}
	f.ackedAt = time.Now()
	pin, err := f.pinned(ctx)
	switch {
	case err != nil:
		return nil //nolint:nilerr // the server cannot tell now; it is asked again
	case pin != f.pin && pin != "":
		f.unacked = nil
		return errTaken
	}
	f.ack(ctx, f.unacked)
	f.unacked, f.pending = nil, 0
	return nil
}

// pinned returns under which pin the server gives messages out, "" if under none.
func (f *follower) pinned(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, ackEvery)
	defer cancel()
	i, err := f.c.Info(ctx)
	if err != nil || len(i.PriorityGroups) == 0 {
		return "", err
	}
	return i.PriorityGroups[0].PinnedClientID, nil
}

func (f *follower) drop() { f.run, f.last, f.bytes = nil, nil, 0 }

// failed tells the owner and waits.
func (f *follower) failed(ctx context.Context, err error, try int) {
	if ctx.Err() != nil {
		return
	}
	if f.r.Failed != nil {
		f.r.Failed(err, try)
	}
	pause(ctx, backoff(f.r.Backoff, f.r.MaxBackoff, try))
}

// release gives the pin back, so that the next reader need not wait until it lapses, and sees to it
// that the last acknowledgement reaches the server.
func (f *follower) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := f.ackHandled(ctx); err != nil || f.pin == "" {
		return
	}
	if err := f.l.b.conn.FlushWithContext(ctx); err != nil {
		return
	}
	if pin, err := f.pinned(ctx); err != nil || pin != f.pin {
		return
	}
	if err := f.l.s.UnpinConsumer(ctx, f.r.Name, pinGroup); err != nil {
		f.l.b.log.DebugContext(ctx, "pin not given back, it lapses", "reader", f.r.Name, "err", err)
	}
}

// backoff doubles from first to most; the jitter takes up to half of it away.
func backoff(first, most time.Duration, try int) time.Duration {
	d := most
	if shift := try - 1; shift < 20 && first<<shift < most {
		d = first << shift
	}
	return d - rand.N(d/2+1) //nolint:gosec // jitter, not secret
}

func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}
