package memory

import (
	"context"
	"hash/maphash"
	"math"
	"sync"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

const (
	limitShards = 16
	minScan     = 256 // buckets of a shard before it is cleaned for the first time
)

// Limits implements faststate.Limits with one time per bucket: when it will be full again (the generic cell rate
// algorithm). A bucket whose time has come is full, so forgetting it changes nothing.
//
// If more than Config.MaxBuckets buckets are not full at a time, an eighth of a shard's is forgotten arbitrarily: a
// flood of new keys then gives some of the old ones a fresh burst, which is better than to refuse every new key.
type Limits struct {
	now    Clock
	seed   maphash.Seed
	shards [limitShards]limitShard
}

type limitShard struct {
	mu     sync.Mutex // guards what follows
	full   map[string]time.Time
	scanAt int // clean when there are as many buckets
	max    int
}

var _ faststate.Limits = (*Limits)(nil)

// NewLimits returns limits in which every bucket is full.
func NewLimits(cfg Config, now Clock) *Limits {
	l := &Limits{now: now, seed: maphash.MakeSeed()}
	limit := max(cfg.withDefaults().MaxBuckets/limitShards, 1)
	for i := range l.shards {
		l.shards[i] = limitShard{full: make(map[string]time.Time), scanAt: min(minScan, limit), max: limit}
	}
	return l
}

// Take implements faststate.Limits.
func (l *Limits) Take(_ context.Context, key string, rate float64, burst int) (bool, time.Duration, error) {
	if rate <= 0 {
		return true, 0, nil
	}
	perToken := interval(rate)
	now := l.now()
	s := &l.shards[maphash.String(l.seed, key)%limitShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	full := s.full[key]
	if full.Before(now) {
		full = now
	}
	// With a token less it would be full one interval later; the bucket holds burst of them.
	next := full.Add(perToken)
	if wait := next.Sub(now) - capacity(perToken, burst); wait > 0 {
		return false, wait, nil
	}
	s.set(now, key, next)
	return true, 0, nil
}

// interval is the time in which one token comes, at least a nanosecond and at most a day.
func interval(rate float64) time.Duration {
	return time.Duration(min(max(float64(time.Second)/rate, 1), float64(24*time.Hour)))
}

// capacity is the time in which burst tokens come, without overflow.
func capacity(perToken time.Duration, burst int) time.Duration {
	n := int64(max(burst, 1))
	if n > math.MaxInt64/int64(perToken) {
		return math.MaxInt64
	}
	return time.Duration(n * int64(perToken))
}

// set stores when a bucket will be full. s.mu is held.
func (s *limitShard) set(now time.Time, key string, full time.Time) {
	if _, ok := s.full[key]; !ok && len(s.full) >= s.scanAt {
		s.clean(now)
	}
	s.full[key] = full
}

// clean forgets the buckets that are full, and at the bound an eighth of the others. The next cleaning comes when the
// shard has doubled, so that it costs a constant time per bucket.
func (s *limitShard) clean(now time.Time) {
	for k, full := range s.full {
		if !full.After(now) {
			delete(s.full, k)
		}
	}
	excess := 0
	if len(s.full) >= s.max {
		excess = max(s.max/8, 1)
	}
	for k := range s.full {
		if excess <= 0 {
			break
		}
		delete(s.full, k)
		excess--
	}
	s.scanAt = min(max(2*len(s.full), minScan), s.max)
}

// Len returns how many buckets are kept, for metrics.
func (l *Limits) Len() int {
	n := 0
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		n += len(s.full)
		s.mu.Unlock()
	}
	return n
}
