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
	probeEvery   = time.Second // an open circuit lets one call through, the probe, this long after the last one failed
)

// outcome is what a call says about the service that was called.
type outcome int8

const (
	unjudged outcome = iota // nothing: the caller went away
	worked                  // the service answered, be it with an error of the client's
	failed
)

// judge tells a failing service from one that refuses. LOG_FULL and OVERLOADED open no circuit. The first is an answer of
// a service that works and that clients must see. The second is how a service keeps its work within bounds, or that nobody
// serves, which is known at once: a circuit would refuse too what there is room for, and then probe a full queue.
func judge(caller context.Context, err error) outcome {
	if errors.Is(caller.Err(), context.Canceled) {
		return unjudged
	}
	f := fault.Of(err)
	switch {
	case f == nil || f.Reason == fault.LogFull || f.Reason == fault.Overloaded:
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
	busy  bool      // a probe is under way, while open; there is never a second one
	probe time.Time // when the next probe may pass, while open
	round uint64    // raised by each opening and closing; outcomes of an earlier round are ignored
	slots [breakerSlots]slot

	opened, refused uint64 // for the metrics
}

// slot counts the calls that ended in one second.
type slot struct {
	second        int64
	calls, failed int
}

// ticket is the right to make one call.
type ticket struct {
	round uint64
	probe bool
}

// allow returns a ticket, whose outcome must be told to done, or how long the caller should wait before it tries again.
func (b *breaker) allow(now time.Time) (t ticket, wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return ticket{round: b.round}, 0, true
	}
	if wait = b.probe.Sub(now); b.busy || wait > 0 {
		b.refused++
		return ticket{}, max(wait, probeEvery), false
	}
	b.busy = true
	return ticket{round: b.round, probe: true}, 0, true
}

// done counts the outcome of a call that allow let pass.
func (b *breaker) done(t ticket, o outcome, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case t.round != b.round:
	case t.probe:
		b.busy = false
		b.probed(o, now)
	case o != unjudged && b.count(o, now):
		b.turn(true)
		b.opened++
		b.probe = now.Add(probeEvery)
	}
}

// probed takes the outcome of a probe. One that says nothing makes room for the next at once.
func (b *breaker) probed(o outcome, now time.Time) {
	switch o {
	case worked:
		b.turn(false)
	case failed:
		b.probe = now.Add(probeEvery)
	case unjudged:
	}
}

// turn opens or closes the circuit and forgets what was counted.
func (b *breaker) turn(open bool) {
	b.open, b.busy = open, false
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

// figures are what the metrics show of a breaker.
type figures struct {
	state           float64 // 0 closed, 0.5 a probe is under way, 1 open
	opened, refused float64
}

func (b *breaker) figures() figures {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := figures{opened: float64(b.opened), refused: float64(b.refused)}
	switch {
	case b.open && b.busy:
		f.state = 0.5
	case b.open:
		f.state = 1
	}
	return f
}
