package wsgateway

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/oceanchat/oceanchat/internal/chat"
)

const shardCount = 64

// registry finds connections by their id and by their session. It never takes a connection's mutex, so it may be used
// under one.
type registry struct {
	seed   maphash.Seed
	count  atomic.Int64
	shards [shardCount]shard
}

type shard struct {
	mu       sync.Mutex // guards all below
	conns    map[chat.ConnectionID]*conn
	sessions map[chat.SessionID]*conn // linked by nextSession
}

func newRegistry() *registry {
	r := &registry{seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].conns = map[chat.ConnectionID]*conn{}
		r.shards[i].sessions = map[chat.SessionID]*conn{}
	}
	return r
}

func (r *registry) shard(id string) *shard {
	return &r.shards[maphash.String(r.seed, id)%shardCount]
}

func (r *registry) add(c *conn) {
	s := r.shard(string(c.id.ConnectionID))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c.id.ConnectionID] = c
	r.count.Add(1)
}

func (r *registry) addSession(c *conn) {
	s := r.shard(string(c.id.SessionID))
	s.mu.Lock()
	defer s.mu.Unlock()
	c.nextSession = s.sessions[c.id.SessionID]
	s.sessions[c.id.SessionID] = c
}

// remove forgets c; its session too if it had one.
func (r *registry) remove(c *conn) {
	s := r.shard(string(c.id.ConnectionID))
	s.mu.Lock()
	delete(s.conns, c.id.ConnectionID)
	s.mu.Unlock()
	r.count.Add(-1)
	if c.id.SessionID == "" {
		return
	}
	s = r.shard(string(c.id.SessionID))
	s.mu.Lock()
	defer s.mu.Unlock()
	head := s.sessions[c.id.SessionID]
	at := &head
	for *at != nil && *at != c {
		at = &(*at).nextSession
	}
	if *at != nil {
		*at = c.nextSession
	}
	if head == nil {
		delete(s.sessions, c.id.SessionID)
	} else {
		s.sessions[c.id.SessionID] = head
	}
}

func (r *registry) get(id chat.ConnectionID) *conn {
	s := r.shard(string(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[id]
}

// ofSession returns the connections of a session: one, rarely more.
func (r *registry) ofSession(id chat.SessionID) []*conn {
	s := r.shard(string(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*conn
	for c := s.sessions[id]; c != nil; c = c.nextSession {
		list = append(list, c)
	}
	return list
}

// appendShard appends the connections of one shard, by id.
func (r *registry) appendShard(dst []*conn, i int) []*conn {
	s := &r.shards[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		dst = append(dst, c)
	}
	return dst
}

// turn returns in which of the sweep's auditTurns a session is checked at auth.
func (r *registry) turn(id chat.SessionID) int {
	return int(maphash.String(r.seed, string(id)) / shardCount % auditTurns)
}

// appendSessions appends the sessions of one shard.
func (r *registry) appendSessions(dst []chat.SessionID, i int) []chat.SessionID {
	s := &r.shards[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.sessions {
		dst = append(dst, id)
	}
	return dst
}

// all returns every connection.
func (r *registry) all() []*conn {
	list := make([]*conn, 0, r.count.Load())
	for i := range shardCount {
		list = r.appendShard(list, i)
	}
	return list
}

// addresses counts the connections of each address that have not connected yet.
type addresses struct {
	mu    sync.Mutex // guards count
	count map[netip.Addr]int
}

// take counts one more, and reports false if there are limit already.
func (a *addresses) take(ip netip.Addr, limit int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.count[ip] >= limit {
		return false
	}
	a.count[ip]++
	return true
}

func (a *addresses) release(ip netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.count[ip]--; a.count[ip] <= 0 {
		delete(a.count, ip)
	}
}
