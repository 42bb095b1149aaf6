package wsgateway

import (
	"encoding/binary"

	"github.com/gobwas/ws"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// pushes counts the entries pushed on one connection and remembers those that the device has not acknowledged. It is
// guarded by the connection's mutex.
type pushes struct {
	sent    uint64    // the number of the last one
	waiting []waiting // neither acknowledged nor handed back, ascending
	acks    bool      // the client acknowledges by itself

	pinged   uint64 // sent, when the last ping was queued
	pings    int    // pings without an answer
	lastPing int64
}

type waiting struct {
	n  uint64
	at int64
	of *parcel // shared
}

// opened starts the clock of what was held until connect was answered.
func (p *pushes) opened(acks bool, now int64) {
	p.acks, p.lastPing = acks, now-int64(ackPingEvery)
	for i := range p.waiting {
		p.waiting[i].at = now
	}
}

// acknowledge takes out everything up to n.
func (p *pushes) acknowledge(n uint64) []waiting {
	k := 0
	for k < len(p.waiting) && p.waiting[k].n <= n {
		k++
	}
	done := p.waiting[:k:k]
	p.drop(k)
	return done
}

// late takes out what has waited since then or longer.
func (p *pushes) late(then int64) []waiting {
	k := 0
	for k < len(p.waiting) && p.waiting[k].at <= then {
		k++
	}
	late := p.waiting[:k:k]
	p.drop(k)
	return late
}

func (p *pushes) drop(k int) {
	if k == len(p.waiting) {
		p.waiting = nil
		return
	}
	p.waiting = p.waiting[k:]
}

// deliver queues an entry, and reports false if the connection takes nothing any more. An entry that was taken is
// acknowledged by the client or handed back, never forgotten.
func (c *conn) deliver(p *parcel, body []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stateNow() < connecting || c.over || !c.sendLocked(item{op: c.door.data, n: c.push.sent + 1, body: body}) {
		return false
	}
	c.push.sent++
	if len(c.push.waiting) >= c.s.cfg.Unacked {
		c.handBack(c.push.waiting[:1], "window")
		c.push.drop(1)
	}
	c.push.waiting = append(c.push.waiting, waiting{n: c.push.sent, at: c.s.clock(), of: p})
	return true
}

// handBack gives entries to pusher-realtime, each once. It only queues, so c.mu may be held.
func (c *conn) handBack(list []waiting, cause string) {
	if len(list) == 0 {
		return
	}
	c.s.m.handedBack.WithLabelValues(cause).Add(float64(len(list)))
	c.gaveBack(list, cause)
	for _, w := range list {
		c.s.handbacks.add(&flowv1.OfflineItem{
			Entry: &w.of.entry, UserIds: []string{string(c.id.UserID)}, DeviceId: string(c.id.DeviceID),
		})
	}
}

// ack is the client's own acknowledgement. A number that was never sent acknowledges all that was.
func (c *conn) ack(r wire.Request) {
	req := &wirev1.AckRequest{}
	if err := c.door.form.Decode(r.Params, req); err != nil {
		c.fail(r.ID, err)
		return
	}
	c.acknowledge(req.GetN())
	c.result(r.ID, &wirev1.AckResponse{})
}

func (c *conn) acknowledge(n uint64) {
	c.mu.Lock()
	done := c.push.acknowledge(n)
	c.mu.Unlock()
	c.s.m.acks.Add(float64(len(done)))
	c.acknowledged(done)
}

// ponged takes the answer to a ping, which carries the number that the ping did.
func (c *conn) ponged(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > c.push.pinged || c.push.pings == 0 {
		return // an answer to no ping of ours
	}
	c.push.pings--
	if !c.push.acks {
		done := c.push.acknowledge(n)
		c.s.m.acks.Add(float64(len(done)))
		c.acknowledged(done)
	}
}

// pongedLast takes an answer that carries no number: it counts once every ping was answered.
func (c *conn) pongedLast() {
	c.mu.Lock()
	n, one := c.push.pinged, c.push.pings == 1
	if c.push.pings > 0 && !one {
		c.push.pings--
	}
	c.mu.Unlock()
	if one {
		c.ponged(n)
	}
}

// ping asks for a sign of life; its answer acknowledges what was queued before. c.mu is held.
func (c *conn) ping(now int64) {
	c.push.pinged, c.push.lastPing = c.push.sent, now
	c.push.pings++
	if !c.door.controls {
		c.sendLocked(item{op: c.door.data, body: c.encodePush(methodPing, &wirev1.PingRequest{})})
		return
	}
	c.sendLocked(item{op: ws.OpPing, body: binary.BigEndian.AppendUint64(nil, c.push.sent)})
}

// tick looks at the connection's clocks. One goroutine calls it for all connections in turn, so it never waits.
func (c *conn) tick(now int64) {
	cfg := &c.s.cfg
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.last {
		if now >= c.deadline {
			c.broke()
		}
		return
	}
	silent := now - c.heard.Load()
	c.settle(silent)
	if c.is(fresh) && now-c.accepted >= int64(cfg.AuthTimeout) {
		c.closeLocked(notAuthenticated, "no connect in time")
	}
	if !c.is(live) {
		return
	}
	c.handBack(c.push.late(now-int64(cfg.AckWindow)), "unacknowledged")
	switch {
	case silent >= 2*int64(cfg.Heartbeat):
		c.closeLocked(idle, "silent for two heartbeats")
	case silent >= int64(cfg.Heartbeat) && now-c.push.lastPing >= int64(cfg.Heartbeat),
		c.wantsAckPing() && now-c.push.lastPing >= int64(min(ackPingEvery, cfg.AckWindow/2)):
		c.ping(now)
	}
}

// wantsAckPing reports whether something was pushed since the last ping that only a ping can acknowledge.
func (c *conn) wantsAckPing() bool {
	return !c.push.acks && len(c.push.waiting) > 0 && c.push.sent > c.push.pinged
}
