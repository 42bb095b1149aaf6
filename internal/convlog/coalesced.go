package convlog

import (
	"context"
	"sync"
)

// coalesced runs a question once for all who ask while an earlier run is under way. Unlike singleflight, an answer is
// only given to who asked before its run began, so it holds everything that happened before the asking.
type coalesced[T any] struct {
	ask func(context.Context) (T, error)

	mu      sync.Mutex // guards running and next
	running bool
	next    *flight[T]
}

type flight[T any] struct {
	done chan struct{}
	val  T
	err  error
}

func newCoalesced[T any](ask func(context.Context) (T, error)) *coalesced[T] {
	return &coalesced[T]{ask: ask}
}

func (c *coalesced[T]) do(ctx context.Context) (T, error) {
	c.mu.Lock()
	if c.next == nil {
		c.next = &flight[T]{done: make(chan struct{})}
	}
	f := c.next
	if !c.running {
		c.running = true
		go c.run(context.WithoutCancel(ctx))
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.val, f.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

// run answers flights until none waits.
func (c *coalesced[T]) run(ctx context.Context) {
	for {
		c.mu.Lock()
		f := c.next
		c.next = nil
		if f == nil {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		f.val, f.err = c.ask(ctx)
		close(f.done)
	}
}
