package jetstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	js "github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// incarnationKey is where a stream's metadata names its incarnation.
const incarnationKey = "oceanchat-incarnation"

// dedupe is how long a queue remembers the ids of tasks.
const dedupe = 2 * time.Minute

// logConfig never lets the server delete a message: no age, no count, and DiscardNew at the bound.
// AllowDirect stays off, because a replica that lags would answer that a committed message is not there.
func (b *Backbone) logConfig(partition int) js.StreamConfig {
	return js.StreamConfig{
		Name:      backbone.LogStream(partition),
		Subjects:  []string{backbone.LogSubject(partition)},
		Retention: js.LimitsPolicy,
		Discard:   js.DiscardNew,
		Storage:   js.FileStorage,
		MaxBytes:  b.cfg.LogMaxBytes,
		Replicas:  b.cfg.Replicas,
	}
}

func (b *Backbone) queueConfig(q backbone.QueueName) js.StreamConfig {
	c := js.StreamConfig{
		Name:       q.Stream(),
		Subjects:   []string{q.Prefix() + ">"},
		Storage:    js.FileStorage,
		Discard:    js.DiscardOld,
		Duplicates: dedupe,
		MaxBytes:   b.queueBytes(1 << 30),
		Replicas:   b.cfg.Replicas,
	}
	switch q {
	case backbone.Events:
		c.Retention, c.MaxAge = js.LimitsPolicy, 7*24*time.Hour
	case backbone.PushOffline:
		c.Retention, c.MaxAge = js.WorkQueuePolicy, 24*time.Hour
	case backbone.PushOnline:
		c.Retention, c.Storage, c.Discard, c.MaxBytes = js.WorkQueuePolicy, js.MemoryStorage, js.DiscardNew, b.queueBytes(256<<20)
	}
	return c
}

func (b *Backbone) deadConfig() js.StreamConfig {
	return js.StreamConfig{
		Name:       backbone.DeadStream,
		Subjects:   []string{backbone.DeadPrefix + ">"},
		Retention:  js.LimitsPolicy,
		Storage:    js.FileStorage,
		Discard:    js.DiscardOld,
		MaxAge:     7 * 24 * time.Hour,
		Duplicates: dedupe,
		MaxBytes:   b.queueBytes(1 << 30),
		Replicas:   b.cfg.Replicas,
	}
}

func (b *Backbone) queueBytes(def int64) int64 {
	if b.cfg.QueueMaxBytes > 0 {
		return min(b.cfg.QueueMaxBytes, def)
	}
	return def
}

// open returns the stream, making it where the server says that it does not exist. Of an existing
// one only the size limit is brought up to date; what else an operator changed stays.
func (b *Backbone) open(ctx context.Context, c js.StreamConfig) (js.Stream, error) {
	s, err := b.js.Stream(ctx, c.Name)
	if errors.Is(err, js.ErrStreamNotFound) {
		c.Metadata = map[string]string{incarnationKey: rand.Text()}
		s, err = b.js.CreateStream(ctx, c)
		if errors.Is(err, js.ErrStreamNameAlreadyInUse) { // another instance was faster
			s, err = b.js.Stream(ctx, c.Name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", c.Name, err)
	}
	have := s.CachedInfo().Config
	if have.MaxBytes == c.MaxBytes {
		return s, nil
	}
	have.MaxBytes = c.MaxBytes
	if s, err = b.js.UpdateStream(ctx, have); err != nil {
		return nil, fmt.Errorf("resize stream %s: %w", c.Name, err)
	}
	return s, nil
}

// OpenDead makes the dead-letter stream where it does not exist. Queue does so by itself.
func (b *Backbone) OpenDead(ctx context.Context) error {
	if _, err := b.open(ctx, b.deadConfig()); err != nil {
		return fmt.Errorf("open dead letters: %w", err)
	}
	return nil
}
