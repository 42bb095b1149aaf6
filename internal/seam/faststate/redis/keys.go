package redis

import (
	"fmt"

	"github.com/oceanchat/oceanchat/internal/chat"
)

// buckets is how many parts presence is cut into. Each part lies in one slot of a Cluster and has its own copy of the
// leases, so that a script finds a user, its index and the leases together; and a part that is lost is noticed by its
// missing leases. It must never change: keys would be looked for where they are not. A Cluster spreads presence over at
// most as many masters.
const buckets = 64

// part names the keys of one bucket of presence.
type part struct{ tag string }

// parts returns the names of all buckets.
func parts(prefix string) [buckets]part {
	var ps [buckets]part
	for i := range ps {
		ps[i] = part{fmt.Sprintf("%s:{p%02d}:", prefix, i)}
	}
	return ps
}

func (p part) leases() string                      { return p.tag + "leases" }
func (p part) lives() string                       { return p.tag + "lives" }
func (p part) era() string                         { return p.tag + "era" }
func (p part) index() string                       { return p.tag + "i:" } // and a life
func (p part) users() string                       { return p.tag + "u:" } // and a user
func (p part) seens() string                       { return p.tag + "t:" } // and a user
func (p part) user(u chat.UserID) string           { return p.users() + string(u) }
func (p part) seen(u chat.UserID) string           { return p.seens() + string(u) }
func (c *Client) session(id chat.SessionID) string { return c.cfg.Prefix + ":s:" + string(id) }
func (c *Client) bucket(key string) string         { return c.cfg.Prefix + ":l:" + key }
func (c *Client) cached(key string) string         { return c.cfg.Prefix + ":c:" + key }
func bucketOf(u chat.UserID) int                   { return int(fnv(string(u)) % buckets) }

// fnv is FNV-1a. Like the number of buckets it must never change.
func fnv(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}
