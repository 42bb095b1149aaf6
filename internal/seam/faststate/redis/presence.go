package redis

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

const (
	// presenceFor is the time to live of everything of presence. Renewals put it off for as long as connections last
	// (renewScript); what nobody renews and nobody sweeps goes by itself.
	presenceFor = 7 * 24 * time.Hour
	// scriptBatch bounds what one script does, and so for how long it holds up others: some milliseconds.
	scriptBatch = 250
	// sweepBatch is lower, as nobody waits for a sweep.
	sweepBatch = 50
)

// Presence implements faststate.Presence. A batch takes one round trip to each server that holds a part of it.
type Presence struct {
	c     *Client
	parts [buckets]part
}

var _ faststate.Presence = (*Presence)(nil)

// Presence returns the presence that all clients with the same prefix share.
func (c *Client) Presence() *Presence { return &Presence{c, parts(c.cfg.Prefix)} }

func ms(d time.Duration) int64 { return max(d.Milliseconds(), 1) }

// Put implements faststate.Presence.
func (p *Presence) Put(ctx context.Context, conns []faststate.Conn) ([][]faststate.Conn, error) {
	others := make([][]faststate.Conn, len(conns))
	for _, round := range byBucket(conns, userOf, scriptBatch) {
		calls := make([]*call, len(round))
		for i, g := range round {
			calls[i] = p.putCall(g, conns)
		}
		if err := p.c.run(ctx, calls...); err != nil {
			return nil, down("record connections", err)
		}
		for i, g := range round {
			lists, err := listsOf(calls[i].reply(), len(g.at))
			if err != nil {
				return nil, err
			}
			for j, at := range g.at {
				if others[at], err = connsOf(conns[at].UserID, lists[j]); err != nil {
					return nil, err
				}
			}
		}
	}
	return others, nil
}

func (p *Presence) putCall(g group, conns []faststate.Conn) *call {
	part := p.parts[g.bucket]
	k := &call{s: putScript, keys: []string{part.leases(), part.lives()}}
	k.args = append(k.args, part.index(), ms(presenceFor), faststate.MaxSkew.Microseconds())
	for _, i := range g.at {
		c := conns[i]
		k.keys = append(k.keys, part.user(c.UserID))
		k.args = append(k.args, string(c.UserID), esc(c.GatewayID), esc(c.DeviceID), esc(c.ConnectionID), c.Since.UnixMicro(), rest(c))
	}
	return k
}

// Remove implements faststate.Presence.
func (p *Presence) Remove(ctx context.Context, conns []faststate.Conn, at time.Time) ([]chat.UserID, error) {
	left := make([]bool, len(conns))
	for _, round := range byBucket(conns, userOf, scriptBatch) {
		calls := make([]*call, len(round))
		for i, g := range round {
			calls[i] = p.removeCall(g, conns, at)
		}
		if err := p.c.run(ctx, calls...); err != nil {
			return nil, down("remove connections", err)
		}
		for i, g := range round {
			list, err := listOf(calls[i].reply(), len(g.at))
			if err != nil {
				return nil, err
			}
			for j, k := range g.at {
				left[k] = list[j] == int64(1)
			}
		}
	}
	var gone []chat.UserID
	met := map[chat.UserID]bool{}
	for i, c := range conns {
		if left[i] && !met[c.UserID] {
			met[c.UserID] = true
			gone = append(gone, c.UserID)
		}
	}
	return gone, nil
}

func (p *Presence) removeCall(g group, conns []faststate.Conn, at time.Time) *call {
	part := p.parts[g.bucket]
	k := &call{s: removeScript, keys: []string{part.leases()}}
	k.args = append(k.args, part.index(), ms(presenceFor), at.UnixMilli(), ms(p.c.cfg.LastSeenFor))
	for _, i := range g.at {
		c := conns[i]
		k.keys = append(k.keys, part.user(c.UserID), part.seen(c.UserID))
		k.args = append(k.args, string(c.UserID), esc(c.GatewayID), esc(c.ConnectionID))
	}
	return k
}

// Lookup implements faststate.Presence.
func (p *Presence) Lookup(ctx context.Context, users []chat.UserID) ([]faststate.Conn, error) {
	var calls []*call
	var groups []group
	for _, round := range byBucket(users, itself, scriptBatch) {
		for _, g := range round {
			part := p.parts[g.bucket]
			k := &call{s: lookupScript, keys: []string{part.leases()}}
			for _, i := range g.at {
				k.keys = append(k.keys, part.user(users[i]))
			}
			calls, groups = append(calls, k), append(groups, g)
		}
	}
	if err := p.c.run(ctx, calls...); err != nil {
		return nil, down("look up users", err)
	}
	found := make([][]faststate.Conn, len(users))
	n := 0
	for i, g := range groups {
		if err := readLookup(calls[i].reply(), users, g, found); err != nil {
			return nil, err
		}
		for _, at := range g.at {
			n += len(found[at])
		}
	}
	conns := make([]faststate.Conn, 0, n)
	for _, f := range found {
		conns = append(conns, f...)
	}
	return conns, nil
}

// readLookup notes in found the live connections of a group of users.
func readLookup(reply any, users []chat.UserID, g group, found [][]faststate.Conn) error {
	both, err := listsOf(reply, 2)
	if err != nil {
		return err
	}
	if len(both[0]) != len(g.at) {
		return fmt.Errorf("redis: %d records of %d users", len(both[0]), len(g.at))
	}
	for j, at := range g.at {
		record, _ := both[0][j].(string)
		if record == "" {
			continue
		}
		for e := range strings.SplitSeq(record, entrySep) {
			c, life, err := parseEntry(users[at], e)
			if err != nil {
				return err
			}
			if slices.Contains(both[1], any(life)) {
				found[at] = append(found[at], c)
			}
		}
	}
	return nil
}

// LastSeen implements faststate.Presence.
func (p *Presence) LastSeen(ctx context.Context, users []chat.UserID) ([]time.Time, error) {
	var calls []*call
	var groups []group
	for _, round := range byBucket(users, itself, scriptBatch) {
		for _, g := range round {
			k := command("MGET")
			for _, i := range g.at {
				k.args = append(k.args, p.parts[g.bucket].seen(users[i]))
			}
			calls, groups = append(calls, k), append(groups, g)
		}
	}
	if err := p.c.run(ctx, calls...); err != nil {
		return nil, down("look up last-seen times", err)
	}
	times := make([]time.Time, len(users))
	for i, g := range groups {
		list, err := listOf(calls[i].reply(), len(g.at))
		if err != nil {
			return nil, err
		}
		for j, at := range g.at {
			s, _ := list[j].(string)
			if n, err := strconv.ParseInt(s, 10, 64); err == nil {
				times[at] = time.UnixMilli(n)
			}
		}
	}
	return times, nil
}

// Renew implements faststate.Presence. The lease is kept in every bucket: one that does not know it has lost its state,
// and the gateway registers everything again.
func (p *Presence) Renew(ctx context.Context, g chat.GatewayID, until time.Time) (bool, error) {
	lease := max(until.Sub(p.c.now()), 0)
	nonce := rand.Text()[:8] // 40 bits, to tell the lives of one gateway apart
	calls := make([]*call, buckets)
	for i, part := range p.parts {
		calls[i] = &call{
			s: renewScript, keys: []string{part.leases(), part.lives(), part.era()},
			args: []any{esc(g), lease.Microseconds(), nonce, part.index(), part.users(), ms(presenceFor)},
		}
	}
	if err := p.c.run(ctx, calls...); err != nil {
		return false, down("renew lease", err)
	}
	known := true
	for _, k := range calls {
		known = known && k.reply() == int64(1)
	}
	return known, nil
}

// Sweep implements faststate.Presence. Several instances may sweep at the same time: they share the work, and more than one
// may return the same gateway. When ctx ends before everything is forgotten, the next Sweep goes on.
//
// It also notices servers that were started again or replaced by a replica; each gateway's next Renew then returns false.
func (p *Presence) Sweep(ctx context.Context, now time.Time) ([]chat.GatewayID, error) {
	if err := p.checkEras(ctx); err != nil {
		return nil, err
	}
	todo := p.parts[:]
	gone := map[chat.GatewayID]bool{}
	for len(todo) > 0 {
		calls := make([]*call, len(todo))
		for i, part := range todo {
			calls[i] = p.sweepCall(part, now.Sub(p.c.now()))
		}
		if err := p.c.run(ctx, calls...); err != nil {
			return nil, down("sweep", err)
		}
		var more []part
		for i, k := range calls {
			list, err := listOf(k.reply(), 2)
			if err != nil {
				return nil, err
			}
			if list[0] == int64(1) {
				more = append(more, todo[i])
			}
			if g, _ := list[1].(string); g != "" {
				gone[chat.GatewayID(unescaper.Replace(g))] = true
			}
		}
		todo = more
	}
	var ids []chat.GatewayID
	for g := range gone {
		ids = append(ids, g)
	}
	slices.Sort(ids)
	return ids, nil
}

func (p *Presence) sweepCall(part part, offset time.Duration) *call {
	return &call{
		s: sweepScript, keys: []string{part.leases(), part.lives()},
		args: []any{
			offset.Microseconds(), sweepBatch, part.index(), part.users(), part.seens(),
			ms(presenceFor), ms(p.c.cfg.LastSeenFor),
		},
	}
}

func (p *Presence) checkEras(ctx context.Context) error {
	calls := make([]*call, buckets)
	for i, part := range p.parts {
		calls[i] = &call{s: eraScript, keys: []string{part.era()}, args: []any{ms(presenceFor)}}
	}
	return down("check servers", p.c.run(ctx, calls...))
}
