package jetstream

import (
	"maps"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"
)

// reconnects tells who wants to know that the connection is there again.
type reconnects struct {
	mu   sync.Mutex // guards what follows
	next int
	fns  map[int]func()
}

// watch adds itself to what conn calls already. nats.go calls it in a goroutine for callbacks, after subscriptions were
// repeated.
func (r *reconnects) watch(conn *nats.Conn) {
	before := conn.ReconnectHandler()
	conn.SetReconnectHandler(func(c *nats.Conn) {
		if before != nil {
			before(c)
		}
		r.mu.Lock()
		fns := slices.Collect(maps.Values(r.fns))
		r.mu.Unlock()
		for _, fn := range fns {
			fn()
		}
	})
}

func (r *reconnects) add(fn func()) (stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fns == nil {
		r.fns = map[int]func(){}
	}
	r.next++
	n := r.next
	r.fns[n] = fn
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.fns, n)
	}
}

// OnReconnect implements backbone.Backbone.
func (b *Backbone) OnReconnect(fn func()) (stop func()) { return b.reconnects.add(fn) }
