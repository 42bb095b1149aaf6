package wsgateway

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oceanchat/oceanchat/internal/fault"
)

// backlog gathers what must reach another service and brings it there in batches, in order, again and again until it
// succeeds or is refused for good. It holds at most backlogMax; what does not fit is dropped and counted.
type backlog[T any] struct {
	size    int // of a batch at most
	dropped prometheus.Counter
	send    func(ctx context.Context, batch []T) error
	failed  func(err error) // told of each attempt that failed

	mu    sync.Mutex // guards items
	items []T
	some  chan struct{} // has a token when items may have something
}

func newBacklog[T any](size int, dropped prometheus.Counter, send func(context.Context, []T) error, failed func(error)) *backlog[T] {
	return &backlog[T]{size: size, dropped: dropped, send: send, failed: failed, some: make(chan struct{}, 1)}
}

// add never waits.
func (b *backlog[T]) add(item T) {
	b.mu.Lock()
	full := len(b.items) >= backlogMax
	if !full {
		b.items = append(b.items, item)
	}
	b.mu.Unlock()
	if full {
		b.dropped.Inc()
		return
	}
	select {
	case b.some <- struct{}{}:
	default:
	}
}

func (b *backlog[T]) take() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.items), b.size)
	batch := b.items[:n:n]
	if b.items = b.items[n:]; len(b.items) == 0 {
		b.items = nil
	}
	return batch
}

// run sends until stop is closed and nothing is left, or ctx ends.
func (b *backlog[T]) run(ctx context.Context, stop <-chan struct{}) {
	for {
		select {
		case <-b.some:
			wait(ctx, stop, backlogLinger) // so that a crowd makes few calls
			b.flush(ctx)
		case <-stop:
			b.flush(ctx)
			return
		case <-ctx.Done():
			return
		}
	}
}

// flush sends everything; what ctx cuts off is dropped.
func (b *backlog[T]) flush(ctx context.Context) {
	for batch := b.take(); len(batch) > 0; batch = b.take() {
		pause := 50 * time.Millisecond
		err := b.attempt(ctx, batch)
		for try := 1; err != nil && ctx.Err() == nil && transient(err, try); try++ {
			wait(ctx, nil, pause)
			pause = min(2*pause, maxRetryPause)
			err = b.attempt(ctx, batch)
		}
		if err != nil {
			b.dropped.Add(float64(len(batch)))
		}
	}
}

// transient reports whether another attempt may succeed. A batch that is refused as wrong, or breaks its service again
// and again, must not stop what is behind it.
func transient(err error, tries int) bool {
	code := fault.CodeOf(err)
	return code == fault.Unavailable || code == fault.ResourceExhausted || code == fault.Internal && tries < 10
}

func (b *backlog[T]) attempt(ctx context.Context, batch []T) error {
	ctx, cancel := context.WithTimeout(ctx, maxRetryPause)
	defer cancel()
	err := b.send(ctx, batch)
	if err != nil {
		b.failed(err)
	}
	return err
}

// wait returns after d, or earlier when ctx ends or stop is closed.
func wait(ctx context.Context, stop <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-stop:
	case <-ctx.Done():
	}
}
