package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// stream implements backbone.Log.
type stream struct {
	b             *Backbone
	name, subject string
	s             js.Stream
}

var _ backbone.Log = (*stream)(nil)

// Append sends once, except when the server said that nobody heard it: the deadline of the call is
// the only thing that ends the wait for an answer.
func (l *stream) Append(ctx context.Context, data []byte, expect uint64) (uint64, error) {
	if len(data) > backbone.MaxData {
		return 0, fmt.Errorf("%d bytes of at most %d: %w", len(data), backbone.MaxData, backbone.ErrRefused)
	}
	m := &nats.Msg{Subject: l.subject, Data: data}
	ack, err := l.b.js.PublishMsg(ctx, m, append(publishOptions(l.name), js.WithExpectLastSequence(expect))...)
	if err := outcome(err); err != nil {
		return 0, fmt.Errorf("append to %s after %d: %w", l.name, expect, err)
	}
	return ack.Sequence, nil
}

// Info implements backbone.Log; the server has only the leader answer.
func (l *stream) Info(ctx context.Context) (backbone.LogInfo, error) {
	i, err := l.s.Info(ctx)
	if err != nil {
		return backbone.LogInfo{}, fmt.Errorf("info of %s: %w", l.name, err)
	}
	// An empty stream has FirstSeq = LastSeq + 1 after a purge, and 0 or 1 when it is new.
	return backbone.LogInfo{
		Incarnation: i.Config.Metadata[incarnationKey],
		First:       max(i.State.FirstSeq, 1),
		Last:        i.State.LastSeq,
		Bytes:       i.State.Bytes,
		MaxBytes:    uint64(max(i.Config.MaxBytes, 0)),
	}, nil
}

// Get implements backbone.Log.
func (l *stream) Get(ctx context.Context, seq uint64) (backbone.Message, error) {
	if seq == 0 {
		return backbone.Message{}, backbone.ErrNotFound
	}
	m, err := l.s.GetMsg(ctx, seq)
	if errors.Is(err, js.ErrMsgNotFound) {
		return backbone.Message{}, fmt.Errorf("message %d of %s: %w", seq, l.name, backbone.ErrNotFound)
	}
	if err != nil {
		return backbone.Message{}, fmt.Errorf("get %d of %s: %w", seq, l.name, err)
	}
	return backbone.Message{Seq: m.Sequence, Time: m.Time, Data: m.Data}, nil
}

// SeqAt implements backbone.Log by bisection: about twenty reads for a million messages.
func (l *stream) SeqAt(ctx context.Context, t time.Time) (uint64, error) {
	i, err := l.Info(ctx)
	if err != nil {
		return 0, err
	}
	low, high := i.First, i.Last+1 // the answer is in [low, high]
	for low < high {
		mid := low + (high-low)/2
		m, err := l.Get(ctx, mid)
		switch {
		case errors.Is(err, backbone.ErrNotFound): // purged meanwhile, so older than what is left
			low = mid + 1
		case err != nil:
			return 0, err
		case m.Time.Before(t):
			low = mid + 1
		default:
			high = mid
		}
	}
	return low, nil
}

// Floor implements backbone.Log.
func (l *stream) Floor(ctx context.Context, reader string) (uint64, error) {
	c, err := l.b.js.Consumer(ctx, l.name, reader)
	if errors.Is(err, js.ErrConsumerNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("consumer %s of %s: %w", reader, l.name, err)
	}
	return c.CachedInfo().AckFloor.Stream, nil
}

// Purge implements backbone.Log.
func (l *stream) Purge(ctx context.Context, upTo uint64) error {
	if upTo == 0 {
		return nil // to the server a purge below 1 would be one of everything
	}
	if err := l.s.Purge(ctx, js.WithPurgeSequence(upTo+1)); err != nil {
		return fmt.Errorf("purge %s up to %d: %w", l.name, upTo, err)
	}
	return nil
}
