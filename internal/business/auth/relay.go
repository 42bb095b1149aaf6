package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

const (
	relayBatch     = 256
	relayTimeout   = 10 * time.Second // for one step
	relayBackoff   = 100 * time.Millisecond
	relayMaxPause  = 15 * time.Second
	relayLogsEvery = time.Minute
)

// relay moves events from the outbox to the stream, at least once and in order: an event leaves the outbox when it and
// all before it are published. Several instances may relay the same events; the stream drops what comes twice within
// two minutes, by the event's id.
type relay struct {
	outbox  store.Outbox
	open    func(ctx context.Context) (backbone.Queue, error)
	settle  func(ctx context.Context, extra stored, e *authv1.UserEvent) error
	every   time.Duration
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics
	wake    chan struct{}

	queue   backbone.Queue  // nil until opened; used by run alone
	settled map[string]bool // ids of the events in the outbox that are settled; used by run alone
}

func newRelay(cfg Config, d Deps, log *slog.Logger, m *metrics, settle func(context.Context, stored, *authv1.UserEvent) error) *relay {
	return &relay{
		outbox: d.Outbox, settle: settle, every: cfg.RelayEvery, now: d.Now, log: log, metrics: m, wake: make(chan struct{}, 1),
		open: func(ctx context.Context) (backbone.Queue, error) { return d.Backbone.Queue(ctx, backbone.Events) },
	}
}

// kick makes run look at the outbox now. It never blocks.
func (r *relay) kick() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run relays until ctx ends.
func (r *relay) run(ctx context.Context) {
	quiet := obs.Every(relayLogsEvery)
	pause := relayBackoff
	for ctx.Err() == nil {
		done, more, err := r.round(ctx)
		if done > 0 {
			pause = relayBackoff // it moves
		}
		wait, wakes := r.every, true
		switch {
		case err != nil && ctx.Err() == nil:
			r.metrics.retries.Inc()
			if n, ok := quiet.Allow(""); ok {
				r.log.WarnContext(ctx, "relaying events failed and is retried", obs.Err, err, obs.Suppressed, n)
			}
			wait = pause/2 + rand.N(pause) //nolint:gosec // spreads instances, keeps no secret
			pause = min(2*pause, relayMaxPause)
			wakes = false
		case more:
			wait = 0
		}
		if !r.wait(ctx, wait, wakes) {
			return
		}
	}
}

// wait returns false when ctx has ended. After a failure a kick does not cut it short.
func (r *relay) wait(ctx context.Context, d time.Duration, wakes bool) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	wake := r.wake
	if !wakes {
		wake = nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-wake:
	}
	return true
}

// round settles a batch of events and publishes them; done is how many have left the outbox, more tells that there may
// be others.
func (r *relay) round(ctx context.Context) (done int, more bool, err error) {
	events, err := r.outbox.Pending(ctx, relayBatch)
	if err != nil {
		return 0, false, fmt.Errorf("read outbox: %w", err)
	}
	defer func() { r.watch(ctx, events, done) }()
	// First settled, all of them: a session must be denied also while the stream takes nothing.
	bodies, err := r.settleAll(ctx, events)
	if len(bodies) == 0 {
		return 0, false, err
	}
	published, pubErr := r.publish(ctx, events[:len(bodies)], bodies)
	if len(published) > 0 {
		if err := r.outbox.Done(ctx, published); err != nil {
			return 0, false, fmt.Errorf("clear outbox: %w", err)
		}
	}
	return len(published), len(events) == relayBatch, errors.Join(pubErr, err)
}

// watch tells how much is left in the outbox of which events were read and done have left, and how old the first is.
func (r *relay) watch(ctx context.Context, events []store.Event, done int) {
	left := len(events) - done
	if len(events) == relayBatch { // there may be more than were read
		if n, err := r.outbox.Len(ctx); err == nil {
			left = n
		}
	}
	r.metrics.outbox.Set(float64(left))
	age := time.Duration(0)
	if done < len(events) {
		if _, e, err := open(events[done]); err == nil {
			age = r.now().Sub(e.GetAt().AsTime())
		}
	}
	r.metrics.oldest.Set(max(0, age).Seconds())
}

// settleAll returns the bodies of the leading events that are settled, and the first error of the others.
func (r *relay) settleAll(ctx context.Context, events []store.Event) (bodies [][]byte, err error) {
	settled := make(map[string]bool, len(events))
	for _, e := range events {
		body, one := r.settleOne(ctx, e)
		if one != nil {
			if err == nil {
				err = one
			}
			continue
		}
		settled[e.ID] = true
		if err == nil {
			bodies = append(bodies, body)
		}
	}
	r.settled = settled // those that have left the outbox are forgotten
	return bodies, err
}

func (r *relay) settleOne(ctx context.Context, e store.Event) ([]byte, error) {
	extra, event, err := open(e)
	if err != nil || r.settled[e.ID] {
		return extra.Event, err
	}
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	if err := r.settle(ctx, extra, event); err != nil {
		return nil, fmt.Errorf("complete %s: %w", e.Subject, err)
	}
	return extra.Event, nil
}

// publish publishes events in order and returns the ids of those that are.
func (r *relay) publish(ctx context.Context, events []store.Event, bodies [][]byte) (done []string, err error) {
	if r.queue == nil {
		if r.queue, err = r.open(ctx); err != nil {
			return nil, fmt.Errorf("open the stream of events: %w", err)
		}
	}
	for i, e := range events {
		topic := strings.TrimPrefix(e.Subject, backbone.Events.Prefix())
		if err := r.publishOne(ctx, topic, e.ID, bodies[i]); err != nil {
			return done, fmt.Errorf("publish %s: %w", e.Subject, err)
		}
		r.metrics.published.Inc()
		done = append(done, e.ID)
	}
	return done, nil
}

func (r *relay) publishOne(ctx context.Context, topic, id string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	return r.queue.Publish(ctx, topic, id, body)
}
