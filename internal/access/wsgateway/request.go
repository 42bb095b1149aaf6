package wsgateway

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	routerv1 "github.com/oceanchat/oceanchat/gen/oceanchat/router/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/wire"
)

const laneCount = 4

// requests is what a connection has asked and not been answered yet. It is guarded by the connection's mutex.
type requests struct {
	inFlight int // queued or at work
	bytes    int // of their packets
	lanes    [laneCount]lane
	room     chan struct{} // closed for a reader that waits until fewer bytes are queued
}

// forgetQueued drops what no worker has begun and reports whether anything is at work.
func (r *requests) forgetQueued() bool {
	if r == nil {
		return false
	}
	for i := range r.lanes {
		l := &r.lanes[i]
		for _, p := range l.queue {
			r.inFlight--
			r.bytes -= len(p.body)
		}
		l.queue = nil
	}
	r.wakeReader()
	return r.inFlight > 0
}

// A lane has one request at work at a time; the others wait in order.
type lane struct {
	queue []packet
	busy  bool
}

// packet is a request that waits in a lane, or is at work.
type packet struct {
	body []byte
	came int64 // by the clock
}

func (r *requests) wakeReader() {
	if r != nil && r.room != nil {
		close(r.room)
		r.room = nil
	}
}

// enqueue puts a packet into its lane. Until connect is answered nothing of a lane starts.
func (c *conn) enqueue(n int, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.last || c.drain || c.over {
		return
	}
	if c.req == nil {
		c.req = &requests{}
	}
	if c.req.inFlight >= c.s.cfg.InFlight {
		c.closeLocked(tooMany, "too many requests in flight")
		return
	}
	c.req.inFlight++
	c.req.bytes += len(body)
	l := &c.req.lanes[n]
	l.queue = append(l.queue, packet{bytes.Clone(body), c.s.clock()})
	c.startLane(n)
}

// startLane lets a worker take the lane if it has work and none does yet. c.mu is held.
func (c *conn) startLane(n int) {
	l := &c.req.lanes[n]
	if l.busy || len(l.queue) == 0 || !c.is(live) {
		return
	}
	l.busy = true
	p := l.pop()
	c.s.workers.run(work{c, n, p})
}

func (l *lane) pop() packet {
	p := l.queue[0]
	l.queue[0] = packet{}
	if l.queue = l.queue[1:]; len(l.queue) == 0 {
		l.queue = nil
	}
	return p
}

// awaitRoom holds the reader while many bytes are queued, so that back-pressure reaches the socket.
func (c *conn) awaitRoom() {
	c.mu.Lock()
	if c.req == nil || c.req.bytes <= queuedBytes || c.out.last {
		c.mu.Unlock()
		return
	}
	room := make(chan struct{})
	c.req.room = room
	c.mu.Unlock()
	<-room
}

// answered queues the answer of a lane's request and returns the lane's next one; false if there is none.
func (c *conn) answered(n, size int, answer []byte) (packet, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.req
	r.inFlight--
	r.bytes -= size
	if r.bytes <= queuedBytes {
		r.wakeReader()
	}
	if len(answer) > 0 {
		c.sendLocked(item{op: c.door.data, body: answer})
	}
	if l := &r.lanes[n]; len(l.queue) > 0 && !c.out.last {
		return l.pop(), true
	}
	r.lanes[n].busy = false
	if r.inFlight == 0 {
		c.req = nil
		switch {
		case c.over:
			c.closeLocked(sessionOver, sessionReason)
		case c.drain:
			c.closeLocked(draining, drainReason)
		}
	}
	return packet{}, false
}

// serve returns the answer to a request whose turn has come. One that has waited too long is refused and reaches nobody:
// whoever asks faster than the server works must hear so, and what is accepted must not wait ever longer. A queue that had
// to be shed is no burst, so for a while less of it is borne: else it would stand at the limit for as long as the overload
// lasts, and after it until there was time left to work it off.
func (c *conn) serve(p packet) []byte {
	now, limit := c.s.clock(), c.s.cfg.LaneWait
	if last := c.shedAt.Load(); last > 0 && now-last < int64(shedMemory) {
		limit /= shedPart
	}
	if time.Duration(now-p.came) > limit {
		c.shedAt.Store(now)
		c.s.m.shed.Inc()
		return c.refuse(p.body, fault.New(fault.Overloaded, "the request waited too long for those before it; nothing was done").After(shedRetryAfter), c.requestID())
	}
	return c.route(p.body)
}

// route hands a packet to router and returns the whole answer.
func (c *conn) route(packet []byte) (answer []byte) {
	id := c.requestID()
	defer func() {
		if p := recover(); p != nil {
			answer = c.unrouted(packet, fault.Wrap(fmt.Errorf("panic: %v", p), fault.InternalReason, "internal error"), id)
		}
	}()
	ctx, cancel := context.WithTimeout(c.s.ctx, c.s.cfg.RequestTimeout)
	defer cancel()
	ctx = calls.WithRequestID(calls.WithIdentity(ctx, c.id), id)
	ctx, span := c.s.deps.Trace.Start(ctx, "packet", id)
	defer span.End()
	resp, err := c.s.router.Route(ctx, &routerv1.RouteRequest{
		GatewayId: string(c.s.id), ConnectionId: string(c.id.ConnectionID), UserId: string(c.id.UserID),
		SessionId: string(c.id.SessionID), DeviceId: string(c.id.DeviceID), Platform: c.id.Platform,
		RequestId: id, Form: routerv1.Form(c.door.form), Packet: packet,
	})
	if err != nil {
		return c.unrouted(packet, err, id)
	}
	return resp.GetPacket()
}

// unrouted answers for a router that did not: it answers the faults of services itself.
func (c *conn) unrouted(packet []byte, err error, id string) []byte {
	c.s.m.unrouted.Inc()
	c.s.note("router did not answer", c, err)
	return c.refuse(packet, err, id)
}

// refuse answers a packet with err; nil if it wants no answer.
func (c *conn) refuse(packet []byte, err error, id string) []byte {
	r, perr := c.door.form.Parse(packet)
	if perr != nil || !r.ID.Present() {
		return nil
	}
	return c.door.form.Error(nil, r.ID, wire.ErrorObject(err, id), wire.Number(err))
}

// requestID names a request for logs: the connection's id and a number.
func (c *conn) requestID() string {
	return string(c.id.ConnectionID) + "-" + strconv.FormatUint(c.s.requests.Add(1), 36)
}

// result answers a request of the gateway's own; one without an id gets nothing.
func (c *conn) result(id wire.ID, m proto.Message) {
	if id.Present() {
		c.packet(c.encodeResult(id, m))
	}
}

// fail answers a request of the gateway's own with an error.
func (c *conn) fail(id wire.ID, err error) {
	if id.Present() {
		c.packet(c.encodeError(id, err))
	}
}

func (c *conn) encodeResult(id wire.ID, m proto.Message) []byte {
	b, err := c.door.form.Append(nil, m)
	if err != nil {
		return c.encodeError(id, fmt.Errorf("encode a result: %w", err))
	}
	return c.door.form.Result(make([]byte, 0, len(b)+96), id, b)
}

func (c *conn) encodeError(id wire.ID, err error) []byte {
	return c.door.form.Error(nil, id, wire.ErrorObject(err, c.requestID()), wire.Number(err))
}

func (c *conn) encodePush(method string, m proto.Message) []byte {
	b, err := c.door.form.Append(nil, m)
	if err != nil {
		c.s.log.Error("push not encoded", obs.Method, method, obs.Err, err)
		b = nil
	}
	return c.door.form.Push(nil, method, b)
}

// work is a request and the lane that it keeps busy.
type work struct {
	c      *conn
	lane   int
	packet packet
}

// workers runs lanes. Goroutines that are done wait for more, so that their grown stacks serve again. There are as many
// as lanes at work, and at most idleWorkers more.
type workers struct {
	jobs chan work // unbuffered: a send succeeds only if a goroutine waits
	idle atomic.Int32
	wg   sync.WaitGroup
}

const idleWorkers = 256

// run starts job at once; a lane never waits for another one.
func (w *workers) run(job work) {
	select {
	case w.jobs <- job:
	default:
		w.wg.Go(func() { w.work(job) })
	}
}

func (w *workers) work(job work) {
	for ok := true; ok; job, ok = w.next() {
		for p, more := job.packet, true; more; {
			p, more = job.c.answered(job.lane, len(p.body), job.c.serve(p))
		}
		job = work{}
	}
}

// next waits for another job; false when there are enough idle goroutines, or no more jobs to come.
func (w *workers) next() (work, bool) {
	defer w.idle.Add(-1)
	if w.idle.Add(1) > idleWorkers {
		return work{}, false
	}
	job, ok := <-w.jobs
	return job, ok
}

// stop waits for all jobs. run must not be called any more.
func (w *workers) stop() {
	close(w.jobs)
	w.wg.Wait()
}
