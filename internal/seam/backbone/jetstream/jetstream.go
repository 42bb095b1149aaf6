// Package jetstream is the backbone over a NATS connection, the embedded server's or a cluster's.
// It owns the configuration of every stream and durable consumer and the classification of the
// driver's errors. It never starts a server and never closes the connection it was given.
//
// It keeps the seam's invariants: a stream is made once, with DiscardNew for the log, so that
// nothing unhandled is ever deleted to make room; and every effect that matters is awaited.
package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// callTimeout ends a request to the server when the caller set no deadline.
const callTimeout = 5 * time.Second

// What may wait in this process for a slow subscriber of signals; more is dropped.
const (
	pendingSignals     = 64 << 10
	pendingSignalBytes = 32 << 20
)

// Config says how streams are made. The zero value of a limit means its default.
type Config struct {
	// Replicas of each stream and consumer: 1 embedded, 3 in a cluster. 0 means 1.
	Replicas int
	// Partitions is how many logs there are; they are marked with it, and Log refuses those that were made for another
	// number: conversations would be looked for in other streams than the ones that hold them. 0 is not checked.
	Partitions int
	// LogMaxBytes bounds each partition's stream; 0 means 10 GiB.
	LogMaxBytes int64
	// QueueMaxBytes bounds each other stream; 0 means 1 GiB, and 256 MiB for the one in memory.
	QueueMaxBytes int64
}

// Backbone implements backbone.Backbone. It is safe for concurrent use.
type Backbone struct {
	cfg  Config
	conn *nats.Conn
	js   js.JetStream
	log  *slog.Logger

	mu   sync.Mutex // guards logs
	logs map[int]*stream

	reconnects reconnects
	inbox      inbox
	signEvery  time.Duration
}

var _ backbone.Backbone = (*Backbone)(nil)

// New returns a Backbone on conn, which should be connected with Options. It asks nothing of the server.
func New(conn *nats.Conn, cfg Config, log *slog.Logger) (*Backbone, error) {
	j, err := js.New(conn, js.WithDefaultTimeout(callTimeout))
	if err != nil {
		return nil, fmt.Errorf("jetstream context: %w", err)
	}
	cfg.Replicas = max(cfg.Replicas, 1)
	if cfg.LogMaxBytes <= 0 {
		cfg.LogMaxBytes = 10 << 30
	}
	b := &Backbone{cfg: cfg, conn: conn, js: j, log: log, logs: map[int]*stream{}, inbox: inbox{silence: silence}, signEvery: signEvery}
	b.reconnects.watch(conn)
	return b, nil
}

// Options returns the options that a connection for New should have: it reconnects for ever, and
// what is published while it is down fails at once instead of being stored at some later time. Its
// inboxes have a prefix of their own, so that other users of the server can be kept out of them.
func Options(log *slog.Logger) []nats.Option {
	return []nats.Option{
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			subject := ""
			if s != nil {
				subject = s.Subject
			}
			log.Warn("backbone connection reports an error", "subject", subject, "err", err)
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: we closed it
				log.Warn("backbone disconnected", "err", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("backbone connected again") }),
		nats.Name("oceanchat"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(50 * time.Millisecond),
		nats.ReconnectJitter(50*time.Millisecond, 100*time.Millisecond),
		nats.ReconnectBufSize(-1),
		nats.CustomInboxPrefix("_OC_INBOX"),
	}
}

// Log implements backbone.Backbone.
func (b *Backbone) Log(ctx context.Context, partition int) (backbone.Log, error) {
	if partition < 0 {
		return nil, fmt.Errorf("partition %d: negative", partition)
	}
	b.mu.Lock()
	l := b.logs[partition]
	b.mu.Unlock()
	if l != nil {
		return l, nil
	}
	s, err := b.open(ctx, b.logConfig(partition))
	if err != nil {
		return nil, fmt.Errorf("open log %d: %w", partition, err)
	}
	if err := b.checkPartitions(s); err != nil {
		return nil, fmt.Errorf("open log %d: %w", partition, err)
	}
	l = &stream{b: b, name: backbone.LogStream(partition), subject: backbone.LogSubject(partition), s: s}
	b.mu.Lock()
	defer b.mu.Unlock()
	if first := b.logs[partition]; first != nil {
		return first, nil
	}
	b.logs[partition] = l
	return l, nil
}

// Queue implements backbone.Backbone.
func (b *Backbone) Queue(ctx context.Context, name backbone.QueueName) (backbone.Queue, error) {
	if name.Stream() == "" {
		return nil, fmt.Errorf("queue %q: no such queue", name)
	}
	if _, err := b.open(ctx, b.queueConfig(name)); err != nil {
		return nil, fmt.Errorf("open queue %s: %w", name, err)
	}
	if err := b.OpenDead(ctx); err != nil {
		return nil, err
	}
	return &queue{b: b, name: name}, nil
}

// Publish implements backbone.Backbone.
func (b *Backbone) Publish(subject string, data []byte) error {
	if err := b.conn.Publish(subject, data); err != nil {
		return fmt.Errorf("publish to %s: %w", subject, err)
	}
	return nil
}

// Subscribe implements backbone.Backbone.
func (b *Backbone) Subscribe(subject, group string, fn func(string, []byte)) (func(), error) {
	sub, err := b.conn.QueueSubscribe(subject, group, func(m *nats.Msg) { fn(m.Subject, m.Data) })
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	if err := sub.SetPendingLimits(pendingSignals, pendingSignalBytes); err != nil {
		return nil, fmt.Errorf("bound subscription to %s: %w", subject, errors.Join(err, sub.Unsubscribe()))
	}
	// The server knows of the subscription before anything published after this call. While the
	// connection is down that must wait: nats.go subscribes anew once it is up.
	if b.conn.IsConnected() {
		if err := b.conn.FlushTimeout(callTimeout); err != nil {
			b.log.Warn("subscription not confirmed, reconnecting repeats it", "subject", subject, "err", err)
		}
	}
	return func() { _ = sub.Unsubscribe() }, nil // it fails only when the connection is closed: then it is gone too
}

// Writable implements backbone.Backbone: it asks the leader of each log that is open whether it
// answers and has room.
func (b *Backbone) Writable(ctx context.Context) error {
	if !b.conn.IsConnected() {
		return fmt.Errorf("NATS is not connected: %w", b.unreached())
	}
	if _, err := b.js.AccountInfo(ctx); err != nil {
		return fmt.Errorf("ask jetstream: %w", err)
	}
	b.mu.Lock()
	logs := make([]*stream, 0, len(b.logs))
	for _, l := range b.logs {
		logs = append(logs, l)
	}
	b.mu.Unlock()
	for _, l := range logs {
		i, err := l.Info(ctx)
		if err != nil {
			return err
		}
		if room := min(backbone.MaxData, i.MaxBytes/16); i.MaxBytes > 0 && i.Bytes+room > i.MaxBytes {
			return fmt.Errorf("%s holds %d of %d bytes: %w", l.name, i.Bytes, i.MaxBytes, backbone.ErrFull)
		}
	}
	return nil
}
