// Package memory is the fast state of one process. It owns presence, the allow-list, limits and caches in maps; it
// never starts a goroutine, never writes anything down and never asks another service. All of it is gone with the
// process, which loses nothing that was acknowledged.
//
// It keeps invariant 7: every map has a bound. What may be forgotten is forgotten by generations (see recent); presence
// may not be, and is bounded by the number of connections.
//
// One plain mutex guards each of the four: a look-up takes well under a microsecond, so sharding would save nothing
// that two or eight cores notice next to the rest of a request. The exception is Limits, whose cleaning reads every
// bucket and is therefore cut into shards.
package memory

import "time"

// Config bounds what is kept.
type Config struct {
	// MaxLastSeen is how many users' last-seen times are kept. About 100 bytes each. Default 200,000.
	MaxLastSeen int `yaml:"max_last_seen" default:"200000" min:"1" doc:"How many users' last-seen times are kept."`
	// MaxSessions is how many open sessions the allow-list holds; others are looked up in the database. About 100 bytes
	// each. Default 1,000,000.
	MaxSessions int `yaml:"max_sessions" default:"1000000" min:"1" doc:"How many open sessions the allow-list holds."`
	// MaxDenied is how many ended sessions are remembered. Must be more than end within the life of an access token.
	// Default 200,000.
	MaxDenied int `yaml:"max_denied" default:"200000" min:"1" doc:"How many ended sessions are remembered."`
	// MaxBuckets is how many keys are limited at a time. Default 1,000,000.
	MaxBuckets int `yaml:"max_buckets" default:"1000000" min:"16" doc:"How many keys are rate-limited at a time."`
	// CacheBytes is how much keys and values of the cache take. Default 64 MiB.
	CacheBytes int `yaml:"cache_bytes" default:"67108864" min:"1024" doc:"How many bytes of keys and values are cached."`
}

// withDefaults replaces what is not positive.
func (c Config) withDefaults() Config {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&c.MaxLastSeen, 200_000)
	set(&c.MaxSessions, 1_000_000)
	set(&c.MaxDenied, 200_000)
	set(&c.MaxBuckets, 1_000_000)
	set(&c.CacheBytes, 64<<20)
	return c
}

// Clock tells the time; time.Now outside of tests.
type Clock func() time.Time
