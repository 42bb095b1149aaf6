package jetstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// incarnationKey is where a stream's metadata names its incarnation.
const incarnationKey = "oceanchat-incarnation"

// partitionsKey is where a log's metadata says how many there are.
const partitionsKey = "oceanchat-partitions"

// How long an instance tries to find or make a stream, and the pause between its attempts.
const (
	findTimeout = 30 * time.Second
	findAttempt = 3 * time.Second
	findPause   = 100 * time.Millisecond
)

// dedupe is how long a queue remembers the ids of tasks.
const dedupe = 2 * time.Minute

// logConfig never lets the server delete a message: no age, no count, and DiscardNew at the bound.
// AllowDirect stays off, because a replica that lags would answer that a committed message is not there.
func (b *Backbone) logConfig(partition int) js.StreamConfig {
	c := js.StreamConfig{
		Name:      backbone.LogStream(partition),
		Subjects:  []string{backbone.LogSubject(partition)},
		Retention: js.LimitsPolicy,
		Discard:   js.DiscardNew,
		Storage:   js.FileStorage,
		MaxBytes:  b.cfg.LogMaxBytes,
		Replicas:  b.cfg.Replicas,
	}
	if b.cfg.Partitions > 0 {
		c.Metadata = map[string]string{partitionsKey: strconv.Itoa(b.cfg.Partitions)}
	}
	return c
}

// checkPartitions refuses a log that was made for another number of partitions.
func (b *Backbone) checkPartitions(s js.Stream) error {
	have := s.CachedInfo().Config.Metadata[partitionsKey]
	if want := strconv.Itoa(b.cfg.Partitions); b.cfg.Partitions > 0 && have != "" && have != want {
		return fmt.Errorf("the log was made with %s partitions, log.partitions is %s: 'oceanchat recover --cluster --partitions %s' changes it", have, want, want)
	}
	return nil
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
	s, err := b.find(ctx, c)
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

// find returns the stream, made if need be. In a cluster that takes patience: another instance may be making it, or have
// made it while the server that answers does not know yet; and there may be no leader for a moment.
func (b *Backbone) find(ctx context.Context, c js.StreamConfig) (js.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	c.Metadata = maps.Clone(c.Metadata)
	if c.Metadata == nil {
		c.Metadata = map[string]string{}
	}
	c.Metadata[incarnationKey] = rand.Text()
	var why error // the server's own words, which say more than the end of ctx
	for {
		s, err := b.findOnce(ctx, c)
		if err == nil || !passing(err) {
			return s, err
		}
		if why == nil || ctx.Err() == nil {
			why = err
		}
		select {
		case <-ctx.Done():
			return nil, why
		case <-time.After(findPause):
		}
	}
}

// findOnce bounds its patience: what is asked of a stream that has no leader yet is never answered.
func (b *Backbone) findOnce(ctx context.Context, c js.StreamConfig) (js.Stream, error) {
	ask := func(f func(context.Context) (js.Stream, error)) (js.Stream, error) {
		ctx, cancel := context.WithTimeout(ctx, findAttempt)
		defer cancel()
		return f(ctx)
	}
	s, err := ask(func(ctx context.Context) (js.Stream, error) { return b.js.Stream(ctx, c.Name) })
	if errors.Is(err, js.ErrStreamNotFound) {
		return ask(func(ctx context.Context) (js.Stream, error) { return b.js.CreateStream(ctx, c) })
	}
	return s, err
}

// passing tells whether an error of find may be none a moment later.
func passing(err error) bool {
	var api *js.APIError
	if errors.As(err, &api) {
		return api.ErrorCode == js.JSErrCodeStreamNameInUse || api.Code == 503
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders)
}

// OpenDead makes the dead-letter stream where it does not exist. Queue does so by itself.
func (b *Backbone) OpenDead(ctx context.Context) error {
	if _, err := b.open(ctx, b.deadConfig()); err != nil {
		return fmt.Errorf("open dead letters: %w", err)
	}
	return nil
}
