package wsgateway

import (
	"crypto/tls"
	"time"

	"github.com/gobwas/ws"
)

// An item is something to write to one client. Bodies may be shared between connections and are never changed.
type item struct {
	op   ws.OpCode // the door's data opcode, or a control frame's
	n    uint64    // the number of an entry push, whose body is the encoded entry; 0: body is the whole payload
	body []byte
}

const itemOverhead = 64 // what an item takes besides its body, for the bound in bytes

// outbox is what waits to be written to one connection. All of it is guarded by the connection's mutex.
type outbox struct {
	items []item
	bytes int
	rest  []byte // of a write that would have blocked
	busy  bool   // in the ready list, or being written: then whoever writes looks again
	hold  bool   // nothing leaves before the answer to connect
	last  bool   // nothing is taken any more; when all is written, the writing side is closed
	done  bool   // it was
}

// add queues items and reports whether they fit. A queue that is empty takes an item of any size.
func (o *outbox) add(cfg *Config, items ...item) bool {
	for _, it := range items {
		size := len(it.body) + itemOverhead
		if len(o.items) > 0 && (len(o.items) >= cfg.QueueFrames || o.bytes+size > int(cfg.QueueBytes)) {
			return false
		}
		o.items = append(o.items, it)
		o.bytes += size
	}
	return true
}

// half reports whether the queue is so long that what may be lost should be.
func (o *outbox) half(cfg *Config) bool {
	return len(o.items) > cfg.QueueFrames/2 || o.bytes > int(cfg.QueueBytes)/2
}

// clear forgets what waits, apart from a frame that is half written.
func (o *outbox) clear() { o.items, o.bytes = nil, 0 }

// take moves frames into dst until it holds about flushBytes, and returns it with the number of frames.
func (o *outbox) take(d *door, dst []byte, scratch *[]byte) ([]byte, int) {
	k := 0
	for k < len(o.items) && (k == 0 || len(dst)+len(o.items[k].body) < flushBytes) {
		it := o.items[k]
		body := it.body
		if it.n > 0 {
			*scratch = d.form.EntryPush((*scratch)[:0], it.n, it.body)
			body = *scratch
		}
		dst = append(d.framing.header(dst, it.op, len(body)), body...)
		o.bytes -= len(it.body) + itemOverhead
		o.items[k] = item{}
		k++
	}
	if o.items = o.items[k:]; len(o.items) == 0 {
		o.items = nil
	}
	return dst, k
}

// wake puts c into the ready list if it has output and nobody writes yet. c.mu is held.
func (c *conn) wake() {
	if c.out.busy || c.out.hold || len(c.out.items) == 0 {
		return
	}
	c.out.busy = true
	c.s.ready.push(c)
}

// queued returns how many bytes wait to be written, over all connections.
func (s *Service) queued() float64 {
	total := 0
	for _, c := range s.conns.all() {
		c.mu.Lock()
		total += c.out.bytes + len(c.out.rest)
		c.mu.Unlock()
	}
	return float64(total)
}

// A flusher writes what is ready, one write a connection, and never waits for a client.
type flusher struct {
	s       *Service
	buf     []byte
	scratch []byte
	writer  *rawWriter
}

// run flushes until the list is closed. After flushBurst writes in a row it pauses, so that frames gather and one
// write carries several: half the p99 at 400,000 deliveries/s.
func (f *flusher) run() {
	inRow := 0
	for {
		c, waited := f.s.ready.pop()
		if c == nil {
			return
		}
		if waited {
			inRow = 0
		}
		f.flush(c)
		if inRow++; inRow >= flushBurst {
			inRow = 0
			wait(f.s.ctx, nil, flushPause)
		}
	}
}

func (f *flusher) flush(c *conn) {
	if c.raw == nil { // TLS and the like: every write may block
		f.s.slow.Go(c.writeSlowly)
		return
	}
	c.mu.Lock()
	buf, frames := c.out.take(c.door, f.buf[:0], &f.scratch)
	c.mu.Unlock()
	f.buf = keep(buf)
	f.scratch = keep(f.scratch)
	n, err := 0, error(nil)
	if len(buf) > 0 {
		n, err = f.writer.write(c.raw, buf)
	}
	f.s.m.sent(frames, n)
	switch {
	case err != nil:
		c.broke()
	case n < len(buf):
		c.mu.Lock()
		c.out.rest = append([]byte(nil), buf[n:]...)
		c.mu.Unlock()
		f.s.slow.Go(c.writeSlowly)
	default:
		c.wrote()
	}
}

// keep returns b for the next use unless one large frame has made it too large.
func keep(b []byte) []byte {
	if cap(b) > 4*flushBytes {
		return nil
	}
	return b
}

// wrote is called when all that was taken has been written.
func (c *conn) wrote() {
	c.mu.Lock()
	c.out.busy = false
	c.wake()
	end := c.out.last && len(c.out.items) == 0
	if end {
		c.out.busy, c.out.done = true, true
	}
	both := c.peerClosed
	c.mu.Unlock()
	if end {
		c.endOutput(both)
	}
}

// broke closes the socket, without waiting: the reader sees it too and cleans up.
func (c *conn) broke() {
	nc := c.nc
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn() // its own Close may wait for the client
	}
	_ = nc.Close() // nothing can be done about its error
}

// endOutput closes the writing side, once everything is written; both sides when the client has said goodbye.
func (c *conn) endOutput(both bool) {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if both || !ok || half.CloseWrite() != nil {
		c.broke()
	}
}

// writeSlowly writes with blocking calls until nothing waits, in a goroutine of its own.
func (c *conn) writeSlowly() {
	var buf, scratch []byte
	for {
		c.mu.Lock()
		frames := 0
		if buf = c.out.rest; buf != nil {
			c.out.rest = nil
		} else if buf, frames = c.out.take(c.door, nil, &scratch); frames == 0 {
			_ = c.nc.SetWriteDeadline(time.Time{})
			c.mu.Unlock()
			c.wrote()
			return
		}
		if !c.out.last { // a closing connection has a shorter deadline, set by whoever closes it
			_ = c.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
		}
		c.mu.Unlock()
		n, err := c.nc.Write(buf)
		c.s.m.sent(frames, n)
		if err != nil {
			c.s.m.slow.Inc()
			c.broke()
			return
		}
	}
}
