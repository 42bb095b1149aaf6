package router

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/oceanchat/oceanchat/internal/fault"
)

// When a circuit opens: at least half of at least 20 calls within the last 10 s failed.
const (
	breakerSlots = 10
	slotLength   = time.Second
	minCalls     = 20
	probeEvery   = time.Second // while it is open, one call a second goes through and closes it if it succeeds
)

// outcome is what a call says about the service that was called.
type outcome int8

const (
	unjudged outcome = iota // nothing: the caller went away
	worked                  // the service answered, be it with an error of the client's
	failed
)

// judge tells a failing service from one that refuses. LOG_FULL is an answer of a service that works and that clients
// must see, so it opens no circuit.
func judge(caller context.Context, err error) outcome {
	if errors.Is(caller.Err(), context.Canceled) {
		return unjudged
	}
	f := fault.Of(err)
	switch {
	case f == nil || f.Reason == fault.LogFull:
		return worked
	case f.Code == fault.Unavailable || f.Code == fault.Internal:
		return failed
	}
	return worked
}

// breaker is the circuit to one service. The zero breaker is closed. It is safe for concurrent use; callers pass the
// time, which must not fall by much.
type breaker struct {
	mu    sync.Mutex // guards what follows
	open  bool
	probe time.Time // when the next probe may pass, while open
	round uint64    // raised by each opening and closing; outcomes of an earlier round are ignored
	slots [breakerSlots]slot
}

// slot counts the calls that ended in one second.
type slot struct {
	second        int64
	calls, failed int
}

// ticket is the right to make one call.
type ticket struct{ round uint64 }

// allow returns a ticket, or how long the circuit stays closed to everyone.
func (b *breaker) allow(now time.Time) (t ticket, wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open {
		if now.Before(b.probe) {
			return ticket{}, b.probe.Sub(now), false
		}
		b.probe = now.Add(probeEvery)
	}
	return ticket{b.round}, 0, true
}

// done counts the outcome of a call that allow let pass.
func (b *breaker) done(t ticket, o outcome, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o == unjudged || t.round != b.round {
		return
	}
	if b.open {
		if o == worked {
			b.turn(false)
		}
		return
	}
	if b.count(o, now) {
		b.turn(true)
		b.probe = now.Add(probeEvery)
	}
}

// turn opens or closes the circuit and forgets what was counted.
func (b *breaker) turn(open bool) {
	b.open = open
	b.round++
	b.slots = [breakerSlots]slot{}
}

// count adds one call and reports whether the circuit must open.
func (b *breaker) count(o outcome, now time.Time) bool {
	second := now.UnixNano() / int64(slotLength)
	s := &b.slots[second%breakerSlots]
	if s.second != second {
		*s = slot{second: second}
	}
	s.calls++
	if o != failed {
		return false
	}
	s.failed++
	var calls, failures int
	for _, s := range b.slots {
		if second-s.second < breakerSlots {
			calls += s.calls
			failures += s.failed
		}
	}
	return calls >= minCalls && 2*failures >= calls
}

// isOpen is for the metrics.
func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}
