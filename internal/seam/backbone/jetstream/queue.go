package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// pullWait is how long one pull for a task stays open.
const pullWait = 5 * time.Second

// queue implements backbone.Queue on a stream with explicit acknowledgements.
type queue struct {
	b    *Backbone
	name backbone.QueueName
}

var _ backbone.Queue = (*queue)(nil)

// Publish implements backbone.Queue.
func (q *queue) Publish(ctx context.Context, topic, id string, data []byte) error {
	if err := backbone.CheckTopic(topic, false); err != nil {
		return err
	}
	if len(data) > backbone.MaxData {
		return fmt.Errorf("%d bytes of at most %d: %w", len(data), backbone.MaxData, backbone.ErrRefused)
	}
	opts := publishOptions(q.name.Stream())
	if id != "" {
		opts = append(opts, js.WithMsgID(id))
	}
	_, err := q.b.js.PublishMsg(ctx, &nats.Msg{Subject: q.name.Prefix() + topic, Data: data}, opts...)
	if err := outcome(err); err != nil {
		return fmt.Errorf("publish to %s: %w", q.name, err)
	}
	return nil
}

// Consume implements backbone.Queue. Each of MaxInFlight workers pulls one task at a time, so no
// task waits in this process while its AckWait runs.
func (q *queue) Consume(ctx context.Context, c backbone.Consumer) error {
	if err := backbone.CheckConsumer(&c); err != nil {
		return err
	}
	s, err := q.b.js.Stream(ctx, q.name.Stream())
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("consume %s: %w", q.name, err)
	}
	w := &worker{q: q, c: c, s: s}
	var wg sync.WaitGroup
	for range c.MaxInFlight {
		wg.Go(func() { w.work(ctx) })
	}
	wg.Wait()
	return nil
}

// worker is one Consume; its goroutines share it.
type worker struct {
	q *queue
	c backbone.Consumer
	s js.Stream
}

// open returns the consumer, made if need be; the stream too, if somebody has deleted it.
func (w *worker) open(ctx context.Context) (js.Consumer, error) {
	c, err := w.openConsumer(ctx)
	if !errors.Is(err, js.ErrStreamNotFound) {
		return c, err
	}
	if _, err := w.q.b.open(ctx, w.q.b.queueConfig(w.q.name)); err != nil {
		return nil, fmt.Errorf("make anew the stream that was deleted: %w", err)
	}
	return w.openConsumer(ctx)
}

func (w *worker) openConsumer(ctx context.Context) (js.Consumer, error) {
	return w.s.CreateOrUpdateConsumer(ctx, js.ConsumerConfig{
		Durable:       w.c.Name,
		FilterSubject: w.q.name.Prefix() + w.c.Topic,
		DeliverPolicy: js.DeliverAllPolicy,
		AckPolicy:     js.AckExplicitPolicy,
		AckWait:       w.c.AckWait,
		MaxDeliver:    -1, // parking is done here, so that nothing is lost in between
		MaxAckPending: 16 << 10,
		MaxWaiting:    4 << 10,
	})
}

func (w *worker) work(ctx context.Context) {
	var c js.Consumer
	for try := 0; ctx.Err() == nil; {
		var err error
		if c == nil {
			c, err = w.open(ctx)
		}
		if err == nil {
			err = w.one(ctx, c)
		}
		if err == nil || ctx.Err() != nil {
			try = 0
			continue
		}
		try++
		level := slog.LevelDebug // a consumer that was just made, or changes its leader, has a gap
		if try > 2 {
			level = slog.LevelWarn
		}
		w.q.b.log.Log(ctx, level, "queue not readable, trying again", "queue", w.q.name, "consumer", w.c.Name, "err", err)
		c = nil
		pause(ctx, backoff(50*time.Millisecond, 5*time.Second, try))
	}
}

// one pulls a task and sees it through; no task in time is no error.
func (w *worker) one(ctx context.Context, c js.Consumer) error {
	pull, cancel := context.WithTimeout(ctx, pullWait)
	defer cancel()
	m, err := c.Next(js.FetchContext(pull))
	switch {
	case err == nil:
	case ctx.Err() != nil, errors.Is(err, nats.ErrTimeout), errors.Is(err, js.ErrNoMessages), errors.Is(err, context.DeadlineExceeded):
		return nil
	default:
		return err
	}
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	t := backbone.Task{
		Topic:  strings.TrimPrefix(m.Subject(), w.q.name.Prefix()),
		ID:     m.Headers().Get(js.MsgIDHeader),
		Data:   m.Data(),
		Tries:  int(meta.NumDelivered),
		Stored: meta.Timestamp,
	}
	return w.settle(ctx, m, t, w.judge(ctx, m, t))
}

// judge calls Handle and keeps the task ours while it runs. What came more often than MaxTries never
// got a verdict, so most likely it brings the process down: it is parked without another try.
func (w *worker) judge(ctx context.Context, m js.Msg, t backbone.Task) backbone.Verdict {
	if t.Tries > w.c.MaxTries {
		return backbone.Park(fmt.Errorf("no verdict in %d tries", t.Tries-1))
	}
	done, beaten := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(beaten)
		tick := time.NewTicker(w.c.AckWait / 3)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = m.InProgress() // the next one repeats it
			case <-done:
				return
			}
		}
	}()
	v := backbone.Judge(ctx, w.c, t)
	close(done)
	<-beaten
	return v
}

func (w *worker) settle(ctx context.Context, m js.Msg, t backbone.Task, v backbone.Verdict) error {
	switch v.Act {
	case backbone.ActDone:
		return m.Ack()
	case backbone.ActPark:
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		if err := w.q.b.Bury(ctx, w.q.name, t, m.Headers(), v.Err); err != nil {
			w.q.b.log.ErrorContext(ctx, "task not parked, it comes again", "queue", w.q.name, "err", err)
			_ = w.q.b.OpenDead(ctx) // somebody may have deleted the stream
			return m.NakWithDelay(callTimeout)
		}
		if w.c.Parked != nil {
			w.c.Parked(t, v.Err)
		}
		return m.Ack()
	default:
		return m.NakWithDelay(max(v.After, time.Millisecond))
	}
}

// Headers of a dead letter, beside those that the task had.
const (
	headerQueue = "OceanChat-Queue"
	headerTopic = "OceanChat-Topic"
	headerError = "OceanChat-Error"
	headerTries = "OceanChat-Tries"
	headerID    = "OceanChat-Task-Id"
)

// Bury stores t in the dead-letter stream; it is there when Bury returns nil.
func (b *Backbone) Bury(ctx context.Context, q backbone.QueueName, t backbone.Task, h nats.Header, cause error) error {
	m := &nats.Msg{Subject: backbone.DeadPrefix + string(q) + "." + t.Topic, Data: t.Data, Header: nats.Header{}}
	maps.Copy(m.Header, h)
	m.Header.Del(js.MsgIDHeader) // else the server would take a second letter for a repetition
	m.Header.Set(headerQueue, string(q))
	m.Header.Set(headerTopic, t.Topic)
	m.Header.Set(headerTries, strconv.Itoa(t.Tries))
	if t.ID != "" {
		m.Header.Set(headerID, t.ID)
	}
	if cause != nil {
		m.Header.Set(headerError, oneLine(cause.Error()))
	}
	_, err := b.js.PublishMsg(ctx, m, js.WithExpectStream(backbone.DeadStream))
	if err := outcome(err); err != nil {
		return fmt.Errorf("bury a task of %s: %w", q, err)
	}
	return nil
}

// oneLine makes an error's text fit for a header.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), 512)]
}
