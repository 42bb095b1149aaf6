package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	js "github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// readBatch is how many messages Read asks for at a time; with messages of 256 KiB that is 16 MiB.
const readBatch = 64

// errHole says that a consumer skipped a message that is still in the stream.
var errHole = errors.New("hole in what the server delivered")

// Read implements backbone.Log. It asks the leader for the end first, as its consumer may run on a
// replica that has not all of it yet, and then waits for that replica. Each message is checked to
// be the next; the consumer is made anew where that fails, so this is an ordered consumer, but one
// that knows of purges and of its end.
func (l *stream) Read(ctx context.Context, from, to uint64, fn func(backbone.Message) error) error {
	i, err := l.Info(ctx)
	if err != nil {
		return err
	}
	r := &rangeReader{l: l, next: max(from, i.First, 1), to: min(to, i.Last), fn: fn}
	for tries := 0; r.next <= r.to; {
		before := r.next
		err := r.run(ctx)
		if r.fnErr != nil {
			return r.fnErr
		}
		if ctx.Err() != nil {
			return fmt.Errorf("read %s at %d: %w", l.name, r.next, ctx.Err())
		}
		if tries++; r.next > before {
			tries = 0
		}
		if err != nil && tries >= 5 {
			return fmt.Errorf("read %s at %d: %w", l.name, r.next, err)
		}
		if err != nil {
			pause(ctx, 50*time.Millisecond)
		}
	}
	return nil
}

// Confirm implements backbone.Log. A consumer with as many replicas as the stream is made by the majority of all servers
// and answered for by the majority of the stream's, which are also its own.
func (l *stream) Confirm(ctx context.Context) error {
	c, err := l.s.CreateConsumer(ctx, js.ConsumerConfig{
		DeliverPolicy:     js.DeliverNewPolicy,
		AckPolicy:         js.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          l.s.CachedInfo().Config.Replicas,
		InactiveThreshold: 30 * time.Second,
	})
	if err != nil {
		return fmt.Errorf("confirm who leads %s: %w", l.name, err)
	}
	l.deleteConsumer(ctx, c)
	return nil
}

// deleteConsumer does so in a second at most; a consumer that stays behind goes by itself after InactiveThreshold.
func (l *stream) deleteConsumer(ctx context.Context, c js.Consumer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = l.s.DeleteConsumer(ctx, c.CachedInfo().Name)
}

// rangeReader is the state of one Read.
type rangeReader struct {
	l        *stream
	next, to uint64
	fn       func(backbone.Message) error
	fnErr    error
}

// run reads with one consumer until the range is done or something fails.
func (r *rangeReader) run(ctx context.Context) error {
	c, err := r.l.s.CreateConsumer(ctx, js.ConsumerConfig{
		DeliverPolicy:     js.DeliverByStartSequencePolicy,
		OptStartSeq:       r.next,
		AckPolicy:         js.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: 30 * time.Second,
	})
	if err != nil {
		return fmt.Errorf("create consumer: %w", err)
	}
	defer r.l.deleteConsumer(ctx, c)
	for idle := 0; r.next <= r.to && ctx.Err() == nil; {
		n, err := r.fetch(ctx, c)
		if err != nil {
			return err
		}
		if n > 0 {
			idle = 0
			continue
		}
		if err := r.skipPurged(ctx); err != nil {
			return err
		}
		if idle++; idle > 50 {
			return errors.New("no message for 5 s")
		}
		pause(ctx, min(time.Duration(idle)*2*time.Millisecond, 100*time.Millisecond))
	}
	return ctx.Err()
}

func (r *rangeReader) fetch(ctx context.Context, c js.Consumer) (int, error) {
	batch, err := c.FetchNoWait(int(min(readBatch, r.to-r.next+1)))
	if err != nil {
		return 0, fmt.Errorf("fetch: %w", err)
	}
	n := 0
	for m := range batch.Messages() { // drained also after an error: its goroutine must end
		if err != nil || r.next > r.to || r.fnErr != nil {
			continue
		}
		n++
		err = r.take(ctx, m)
	}
	return n, errors.Join(err, batch.Error())
}

func (r *rangeReader) take(ctx context.Context, m js.Msg) error {
	msg, _, err := message(m)
	if err != nil || msg.Seq < r.next {
		return err
	}
	if msg.Seq > r.next {
		if err := r.skipPurged(ctx); err != nil {
			return err
		}
		if msg.Seq < r.next || r.next > r.to {
			return nil
		}
		if msg.Seq > r.next {
			return errHole
		}
	}
	if r.fnErr = r.fn(msg); r.fnErr != nil {
		return r.fnErr
	}
	r.next++
	return nil
}

// skipPurged moves on to the first message that is left.
func (r *rangeReader) skipPurged(ctx context.Context) error {
	i, err := r.l.Info(ctx)
	if err != nil {
		return err
	}
	r.next = max(r.next, i.First)
	return nil
}

// message converts a delivery, and says how often it was delivered.
func message(m js.Msg) (msg backbone.Message, tries int, err error) {
	meta, err := m.Metadata()
	if err != nil {
		return backbone.Message{}, 0, fmt.Errorf("metadata of a delivery: %w", err)
	}
	return backbone.Message{Seq: meta.Sequence.Stream, Time: meta.Timestamp, Data: m.Data()}, int(meta.NumDelivered), nil
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
