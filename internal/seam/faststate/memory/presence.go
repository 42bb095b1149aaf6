package memory

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// Presence implements faststate.Presence.
type Presence struct {
	now Clock

	mu       sync.RWMutex // guards what follows, but not seen
	users    map[chat.UserID][]entry
	gateways map[chat.GatewayID]*lease
	ended    bool // entries of a lease that was replaced are still there

	seenMu sync.Mutex // taken under mu or alone; guards seen
	seen   *recent[chat.UserID, time.Time]
}

var _ faststate.Presence = (*Presence)(nil)

// lease is one life of a gateway. An entry belongs to a life, so that what a gateway registered before its lease
// ended does not come back with the next one.
type lease struct {
	until time.Time
	ended bool // no longer in gateways
}

func (l *lease) live(now time.Time) bool { return l != nil && !l.ended && now.Before(l.until) }

type entry struct {
	conn  faststate.Conn
	lease *lease
}

func (e entry) is(c faststate.Conn) bool {
	return e.conn.GatewayID == c.GatewayID && e.conn.ConnectionID == c.ConnectionID
}

// NewPresence returns an empty state. now decides which leases live.
func NewPresence(cfg Config, now Clock) *Presence {
	return &Presence{
		now:      now,
		users:    make(map[chat.UserID][]entry),
		gateways: make(map[chat.GatewayID]*lease),
		seen:     newRecent[chat.UserID, time.Time](cfg.withDefaults().MaxLastSeen, nil),
	}
}

// Put implements faststate.Presence.
func (p *Presence) Put(_ context.Context, conns []faststate.Conn) ([][]faststate.Conn, error) {
	now := p.now()
	others := make([][]faststate.Conn, len(conns))
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, c := range conns {
		others[i] = p.put(now, c)
	}
	return others, nil
}

// put records c and returns what its user has besides. p.mu is held.
func (p *Presence) put(now time.Time, c faststate.Conn) (others []faststate.Conn) {
	l := p.gateways[c.GatewayID]
	record := l.live(now)
	old := p.users[c.UserID]
	keep := make([]entry, 0, len(old)+1)
	for _, e := range old {
		switch {
		case !e.lease.live(now) || e.is(c):
			continue
		case e.conn.DeviceID == c.DeviceID && e.conn.Outlives(c):
			record = false
		case e.conn.DeviceID == c.DeviceID && record:
			others = append(others, e.conn)
			continue
		}
		others = append(others, e.conn)
		keep = append(keep, e)
	}
	if record {
		keep = append(keep, entry{c, l})
	}
	p.store(c.UserID, keep)
	return others
}

func (p *Presence) store(u chat.UserID, es []entry) {
	if len(es) == 0 {
		delete(p.users, u)
		return
	}
	p.users[u] = es
}

// Remove implements faststate.Presence.
func (p *Presence) Remove(_ context.Context, conns []faststate.Conn, at time.Time) ([]chat.UserID, error) {
	now := p.now()
	var gone []chat.UserID
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		es := p.users[c.UserID]
		i := slices.IndexFunc(es, func(e entry) bool { return e.is(c) })
		if i < 0 {
			continue
		}
		es = slices.Delete(es, i, i+1)
		p.store(c.UserID, es)
		if !anyLive(es, now) {
			gone = append(gone, c.UserID)
			p.saw(c.UserID, at)
		}
	}
	return gone, nil
}

func anyLive(es []entry, now time.Time) bool {
	return slices.ContainsFunc(es, func(e entry) bool { return e.lease.live(now) })
}

// Lookup implements faststate.Presence.
func (p *Presence) Lookup(_ context.Context, users []chat.UserID) ([]faststate.Conn, error) {
	now := p.now()
	var live []faststate.Conn
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, u := range users {
		for _, e := range p.users[u] {
			if e.lease.live(now) {
				live = append(live, e.conn)
			}
		}
	}
	return live, nil
}

// LastSeen implements faststate.Presence.
func (p *Presence) LastSeen(_ context.Context, users []chat.UserID) ([]time.Time, error) {
	at := make([]time.Time, len(users))
	p.seenMu.Lock()
	defer p.seenMu.Unlock()
	for i, u := range users {
		at[i], _ = p.seen.get(u)
	}
	return at, nil
}

func (p *Presence) saw(u chat.UserID, at time.Time) {
	p.seenMu.Lock()
	defer p.seenMu.Unlock()
	p.seen.put(u, at)
}

// Renew implements faststate.Presence.
func (p *Presence) Renew(_ context.Context, g chat.GatewayID, until time.Time) (bool, error) {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.gateways[g]
	if l.live(now) {
		l.until = until
		return true, nil
	}
	if l != nil {
		l.ended, p.ended = true, true
	}
	p.gateways[g] = &lease{until: until}
	return false, nil
}

// Sweep implements faststate.Presence. Only when a lease ended does it read all connections.
func (p *Presence) Sweep(_ context.Context, now time.Time) ([]chat.GatewayID, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ids []chat.GatewayID
	for id, l := range p.gateways {
		if l.until.Before(now) {
			l.ended, p.ended = true, true
			delete(p.gateways, id)
			ids = append(ids, id)
		}
	}
	if p.ended {
		p.forgetEnded(now)
		p.ended = false
	}
	slices.Sort(ids)
	return ids, nil
}

// forgetEnded removes the entries of leases that ended. p.mu is held.
func (p *Presence) forgetEnded(now time.Time) {
	for u, es := range p.users {
		var last time.Time
		keep := slices.DeleteFunc(es, func(e entry) bool {
			if e.lease.ended && e.lease.until.After(last) {
				last = e.lease.until
			}
			return e.lease.ended
		})
		if len(keep) == len(es) {
			continue
		}
		p.store(u, keep)
		if !anyLive(keep, now) {
			p.saw(u, last)
		}
	}
}

// Counts returns how many users and gateways are recorded, dead ones included, for metrics.
func (p *Presence) Counts() (users, gateways int) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.users), len(p.gateways)
}
