package pusheroffline

import (
	"context"
	"sync"
	"time"
)

// The rules of a breaker.
const (
	breakerWindow = 10 * time.Second // in which
	breakerCalls  = 20               // calls at least, half of which failed, open it

	// Where few are sent, failed calls without a good one between open it too: so many, over so long. A connection that
	// is cut fails many in a moment, and is no reason.
	breakerRow  = 3
	breakerSpan = 2 * time.Second
)

// breaker leaves a vendor alone for a while when it fails or refuses our set-up. Then one call goes through, whose
// result closes it or opens it again. Callers wait in enter, so that their tasks stay where they are and lose no try.
type breaker struct {
	pause  time.Duration
	notify func(open bool)

	mu      sync.Mutex // guards what follows
	until   time.Time  // open until then; zero: closed
	probing bool
	changed chan struct{} // closed and replaced whenever the above changes
	began   time.Time     // of the window
	calls   int
	failed  int
	row     int       // failed calls since the last good one
	since   time.Time // the first of them
}

func newBreaker(pause time.Duration, notify func(open bool)) *breaker {
	return &breaker{pause: pause, notify: notify, changed: make(chan struct{})}
}

// enter waits until a call may be made, or returns ctx's error. Each enter is followed by one leave or give.
func (b *breaker) enter(ctx context.Context) error {
	for ctx.Err() == nil {
		changed, wait, ok := b.ask()
		if ok {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
	return ctx.Err()
}

// ask reports whether a call may be made now, else what to wait for.
func (b *breaker) ask() (changed <-chan struct{}, wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.until.IsZero():
		return nil, 0, true
	case b.probing:
		return b.changed, time.Hour, false
	}
	if wait = time.Until(b.until); wait > 0 {
		return b.changed, wait, false
	}
	b.probing = true
	return nil, 0, true
}

// leave tells whether the call failed for a reason that concerns all calls.
func (b *breaker) leave(failed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.probing && failed:
		b.open(b.pause)
	case b.probing:
		b.close()
	case failed:
		if b.row++; b.row == 1 {
			b.since = time.Now()
		}
		b.count(1)
	default:
		b.row = 0
		b.count(0)
	}
}

// isOpen reports whether the vendor is left alone now, or tried by a single call.
func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.until.IsZero()
}

// give says that no call was made after all.
func (b *breaker) give() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.probing {
		b.probing = false
		b.tell()
	}
}

// trip opens b for d at once.
func (b *breaker) trip(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open(d)
}

// count adds a call to the window. b.mu is held.
func (b *breaker) count(failed int) {
	if now := time.Now(); now.Sub(b.began) > breakerWindow {
		b.began, b.calls, b.failed = now, 0, 0
	}
	b.calls++
	b.failed += failed
	many := b.calls >= breakerCalls && 2*b.failed >= b.calls
	if b.until.IsZero() && (many || b.row >= breakerRow && time.Since(b.since) >= breakerSpan) {
		b.open(b.pause)
	}
}

// open and close need b.mu.
func (b *breaker) open(d time.Duration) {
	b.until, b.probing = time.Now().Add(d), false
	b.calls, b.failed, b.row = 0, 0, 0
	b.notify(true)
	b.tell()
}

func (b *breaker) close() {
	b.until, b.probing = time.Time{}, false
	b.calls, b.failed, b.row = 0, 0, 0 // what was under way when it opened
	b.notify(false)
	b.tell()
}

func (b *breaker) tell() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// guard keeps a wrong set-up from deleting everybody's tokens: a vendor that calls many tokens dead and accepts none
// within a minute or two is not believed.
type guard struct {
	mu     sync.Mutex // guards what follows
	began  time.Time
	counts [2]struct{ accepted, dead int } // of this minute and the last one
}

const maxDead = 10 // deletions in a minute without one notification accepted

func (g *guard) accepted() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn()
	g.counts[0].accepted++
}

// dead reports whether a token that was called dead may be deleted.
func (g *guard) dead() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn()
	g.counts[0].dead++
	return g.counts[0].accepted+g.counts[1].accepted > 0 || g.counts[0].dead+g.counts[1].dead <= maxDead
}

// turn begins a new minute. g.mu is held.
func (g *guard) turn() {
	now := time.Now()
	switch age := now.Sub(g.began); {
	case age > 2*time.Minute:
		clear(g.counts[:])
	case age > time.Minute:
		g.counts[1], g.counts[0] = g.counts[0], struct{ accepted, dead int }{}
	default:
		return
	}
	g.began = now
}
