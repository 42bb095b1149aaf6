// Package faststate is the seam for state that is fast, shared by all instances and rebuildable: presence, the
// allow-list of sessions, rate limits and caches. Losing all of it loses nothing that was acknowledged: gateways
// register again, sessions are checked against the database, caches fill.
package faststate

import (
	"context"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
)

// Status of a connection.
type Status int8

// The statuses of a connection, the best first.
const (
	Online Status = 1
	Away   Status = 2
)

// Conn says where a device is connected.
type Conn struct {
	UserID       chat.UserID
	DeviceID     chat.DeviceID
	SessionID    chat.SessionID
	GatewayID    chat.GatewayID
	ConnectionID chat.ConnectionID
	Platform     int32 // authv1.Platform
	Status       Status
	Since        time.Time
}

// MaxSkew bounds how far the clocks of two gateways may be apart. Within it the later registration wins; beyond it
// the connection that began later does.
const MaxSkew = 5 * time.Second

// Outlives reports whether c, which is recorded, stays when its device registers the connection late: late began so
// much earlier that it can only be a gateway's repeated registration of a connection that the device has left.
func (c Conn) Outlives(late Conn) bool { return c.Since.Sub(late.Since) > MaxSkew }

// Presence keeps user -> device -> connection. A connection counts only while its gateway's lease lives, so a dead
// gateway's users are gone at once and nothing is refreshed per user. A gateway renews its lease before it takes
// connections. The state may be lost as a whole but never forgets a connection by itself: it is bounded by the number
// of connections.
// Implementations are safe for concurrent use and keep no argument. Each connection of a batch is applied atomically,
// in the order given; the batch as a whole is not atomic.
type Presence interface {
	// Put records connections, each as the one of its device, and returns per connection what its user had before: the
	// replaced connection of the same device included, dead gateways' excluded. A connection that is there already
	// (same gateway, same id) is updated and not returned. A connection that the recorded one of its device outlives
	// (Conn.Outlives) is not recorded, and the recorded one returned. So whatever races, one connection of a device is
	// recorded, and who put another learns of it.
	// A connection of a gateway without a live lease is not recorded, as it could not count; the gateway learns at its
	// next Renew that it must register again.
	Put(ctx context.Context, conns []Conn) (others [][]Conn, err error)
	// Remove forgets connections that are still recorded with the same gateway and connection id, and returns the users
	// that have no live one left, each once; their last-seen time becomes at. Other fields are not looked at, but UserID
	// and DeviceID must be right.
	Remove(ctx context.Context, conns []Conn, at time.Time) (gone []chat.UserID, err error)
	// Lookup returns the live connections of users, in the order asked and in one round trip.
	Lookup(ctx context.Context, users []chat.UserID) ([]Conn, error)
	// LastSeen returns when users were last on line, in the order asked; the zero time is not known. It may forget.
	LastSeen(ctx context.Context, users []chat.UserID) ([]time.Time, error)
	// Renew lets a gateway's lease live until the given time. known is false if there was no live lease: it begins with
	// this call, and the gateway registers its connections again. It does so too when Renew fails, as the answer that
	// said false may be what was lost. An implementation that finds that it may have lost some of what was recorded
	// answers false once more to each gateway; what is there counts all the same.
	Renew(ctx context.Context, g chat.GatewayID, until time.Time) (known bool, err error)
	// Sweep forgets gateways whose lease ended before now, with their connections, and returns their ids. The end of the
	// lease becomes the last-seen time of users that have no live connection left.
	Sweep(ctx context.Context, now time.Time) ([]chat.GatewayID, error)
}

// Session is an entry of the allow-list.
type Session struct {
	ID      chat.SessionID
	UserID  chat.UserID
	Expires time.Time
}

// Sessions is the allow-list: what is on it is open. What is not on it may be open still (the list may have been
// lost); the database decides.
// Implementations are safe for concurrent use, bounded, and keep no argument. What is forgotten is Unknown.
type Sessions interface {
	// Allow puts sessions on the list until they expire. A session that Deny named stays off it, however late an Allow
	// arrives that was decided before.
	Allow(ctx context.Context, sessions []Session) error
	// Deny takes sessions off the list and remembers that they ended for at least the life of an access token.
	Deny(ctx context.Context, ids []chat.SessionID) error
	// Check returns the state of sessions, in the order asked.
	Check(ctx context.Context, ids []chat.SessionID) ([]SessionState, error)
}

// SessionState is what the allow-list knows of a session.
type SessionState int8

// The states of a session on the allow-list.
const (
	Unknown SessionState = iota // ask the database
	Allowed
	Denied
)

// Limits counts against token buckets that all instances share. Implementations are safe for concurrent use.
type Limits interface {
	// Take takes one token from the bucket named key, which holds at most burst and fills by rate a second. ok is false
	// when it is empty; then retryAfter says when the next token comes. A bucket that is full again may be forgotten.
	// A rate of 0 or less is no limit; a burst below 1 counts as 1. A key is used with one rate and burst.
	Take(ctx context.Context, key string, rate float64, burst int) (ok bool, retryAfter time.Duration, err error)
}

// Lease is the right to fill a cache entry; it lapses when the entry is dropped. 0 is no right.
type Lease uint64

// Cache keeps small values that the database has too. Fill after Drop is refused for leases given before the Drop, so
// that a reader which was overtaken by a writer cannot put back what is old (as memcache's leases do).
// Implementations are safe for concurrent use, bounded, and keep no argument.
type Cache interface {
	// Get returns the value of key, which is the caller's, or nil and a lease to fill it with when it is not there.
	Get(ctx context.Context, key string) (val []byte, lease Lease, err error)
	// Fill stores val for at most ttl unless the lease has lapsed, which is no error. It may be forgotten at any time.
	// An empty val is a value too.
	Fill(ctx context.Context, key string, lease Lease, val []byte, ttl time.Duration) error
	// Drop removes keys and lapses all their leases. Drop after the database was changed.
	Drop(ctx context.Context, keys ...string) error
}
