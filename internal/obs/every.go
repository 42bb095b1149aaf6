package obs

import (
	"sync"
	"time"
)

// maxKeys bounds the table of an Every: 1024 clients that misbehave within one period are told apart, the rest share
// one line per period.
const maxKeys = 1024

// Limiter lets one line per key and period through, for lines that a client can cause at will:
//
//	if n, ok := s.badFrames.Allow(string(userID)); ok {
//		s.log.WarnContext(ctx, "frame refused", obs.UserID, userID, obs.Suppressed, n)
//	}
//
// It is safe for concurrent use and takes a bounded amount of memory whatever the keys are.
type Limiter struct {
	period time.Duration

	mu    sync.Mutex // guards all below
	keys  map[string]*allowance
	rest  allowance // of all keys that have no place in the table
	swept time.Time
}

type allowance struct {
	next       time.Time // from when on a line may pass
	suppressed int
}

// Every returns a Limiter with the given period.
func Every(period time.Duration) *Limiter {
	return &Limiter{period: period, keys: map[string]*allowance{}}
}

// Allow reports whether the line for key may be written now, and how many were held back since the last one.
func (l *Limiter) Allow(key string) (suppressed int, ok bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.allowance(key, now)
	if now.Before(a.next) {
		a.suppressed++
		return 0, false
	}
	suppressed = a.suppressed
	*a = allowance{next: now.Add(l.period)}
	return suppressed, true
}

// allowance returns the entry of key: an old one, a new one if there is room, or the shared one.
func (l *Limiter) allowance(key string, now time.Time) *allowance {
	if a, ok := l.keys[key]; ok {
		return a
	}
	if len(l.keys) >= maxKeys {
		l.sweep(now)
	}
	if len(l.keys) >= maxKeys {
		return &l.rest
	}
	a := &allowance{}
	l.keys[key] = a
	return a
}

// sweep drops what has been quiet for a period, at most once a period, so that a flood of keys does not make every call
// walk the table. Counts of suppressed lines that nobody asked for again are lost.
func (l *Limiter) sweep(now time.Time) {
	if now.Sub(l.swept) < l.period {
		return
	}
	l.swept = now
	for key, a := range l.keys {
		if !now.Before(a.next) {
			delete(l.keys, key)
		}
	}
}
