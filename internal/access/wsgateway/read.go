package wsgateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/gobwas/ws"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// The gateway's own methods. Every other one goes to router as it came.
const (
	methodConnect = "connect"
	methodPing    = "ping"
	methodPong    = "pong" // the answer to the push "ping" of doors without control frames
	methodAck     = "ack"
)

var readBuffers = sync.Pool{New: func() any { b := make([]byte, 4<<10); return &b }}

// read is the reader goroutine: it takes what arrives until the socket ends, then cleans up. Whatever calls another
// service runs elsewhere, so it stays shallow. Yet a stack that has grown to 4 KiB once never shrinks to the 2 KiB that
// waiting needs, so a reader that has worked and then waits for long is replaced by a fresh one; see settle.
func (c *conn) read(early []byte) {
	defer c.readEnded()
	if len(early) > 0 {
		c.arrived(early)
	}
	if c.raw == nil {
		c.readBlocking()
		return
	}
	r := newRawReader(c.raw)
	for {
		buf, n, err := r.read()
		if err != nil {
			c.replace = errors.Is(err, os.ErrDeadlineExceeded)
			return
		}
		c.arrived((*buf)[:n])
		readBuffers.Put(buf)
		c.awaitRoom()
	}
}

// readEnded starts the next reader, or ends the connection.
func (c *conn) readEnded() {
	p := recover()
	if p == nil && c.replace {
		c.replace = false
		_ = c.nc.SetReadDeadline(time.Time{}) // if it fails, reading fails too
		go c.read(nil)
		return
	}
	c.s.finish(c, p)
}

// settle makes a reader that has worked give way to one with a small stack, once the client has been silent for a
// while. The watcher calls it.
func (c *conn) settle(silent int64) {
	if silent >= int64(settleAfter) && c.raw != nil && c.worked.CompareAndSwap(true, false) {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
	}
}

func (c *conn) readBlocking() {
	buf := make([]byte, 4<<10)
	for {
		n, err := c.nc.Read(buf)
		if n > 0 {
			c.arrived(buf[:n])
			c.awaitRoom()
		}
		if err != nil {
			return
		}
	}
}

// arrived cuts data, together with what was left before, into units and acts on each. It keeps nothing of data.
func (c *conn) arrived(data []byte) {
	c.heard.Store(c.s.clock())
	c.worked.Store(true)
	c.s.m.bytesIn.Add(float64(len(data)))
	if c.deaf {
		return
	}
	kept := len(c.in) > 0
	if kept {
		c.in = append(c.in, data...)
		data = c.in
	}
	for len(data) > 0 {
		u, n, err := c.door.framing.next(data, &c.partial, c.limit())
		if err != nil {
			c.badFrame(err)
			return
		}
		if n == 0 {
			break
		}
		data = data[n:]
		c.act(u)
	}
	switch {
	case len(data) == 0:
		c.in = nil
	case kept:
		c.in = c.in[:copy(c.in, data)]
	default:
		c.in = append(make([]byte, 0, 2*len(data)), data...)
	}
}

func (c *conn) limit() int {
	if c.stateNow() < live {
		return int(c.s.cfg.MaxFrameNew)
	}
	return int(c.s.cfg.MaxFrame)
}

// badFrame ends a connection whose bytes can't be cut any further.
func (c *conn) badFrame(err error) {
	c.deaf, c.in, c.partial = true, nil, partial{}
	c.s.note("frame refused", c, err)
	c.close(protocolError, err.Error())
}

func (c *conn) act(u unit) {
	switch u.op {
	case ws.OpContinuation:
	case ws.OpPing:
		c.send(item{op: ws.OpPong, body: bytes.Clone(u.payload)})
	case ws.OpPong:
		if len(u.payload) == 8 {
			c.ponged(binary.BigEndian.Uint64(u.payload))
		}
	case ws.OpClose:
		c.clientClosed(u.payload)
	default:
		c.s.m.framesIn.Inc()
		c.received(u.payload)
	}
}

// clientClosed answers a close frame with its own code; the socket is closed once that is written.
func (c *conn) clientClosed(payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peerClosed = true
	if c.out.last {
		if c.out.done {
			c.broke()
		}
		return
	}
	c.out.clear()
	c.out.hold = false
	c.out.items = append(c.out.items, item{op: ws.OpClose, body: bytes.Clone(payload[:min(len(payload), 2)])})
	c.endLocked(byClient)
}

// received acts on one packet, which it does not keep.
func (c *conn) received(packet []byte) {
	st := c.stateNow()
	if st >= closing {
		return
	}
	r, err := c.door.form.Parse(packet)
	switch {
	case err != nil:
		c.refused(err, st)
	case st == fresh:
		c.first(r)
	case r.Method == methodPing:
		c.result(r.ID, &wirev1.PingResponse{})
	case r.Method == methodAck:
		c.ack(r)
	case r.Method == methodPong && !c.door.controls:
		c.pongedLast()
	case r.Method == methodConnect:
		c.fail(r.ID, fault.New(fault.Malformed, "this connection is connected already"))
	default:
		c.enqueue(r.Lane, packet)
	}
}

// refused answers a broken envelope, and ends a connection that sends too many.
func (c *conn) refused(err error, st state) {
	var e *wire.EnvelopeError
	if !errors.As(err, &e) {
		e = &wire.EnvelopeError{Number: wire.NumberNotRPC, Fault: fault.Of(err)}
	}
	var answer []byte
	if e.Answered() {
		answer = c.door.form.Error(nil, e.ID, wire.ErrorObject(e.Fault, c.requestID()), e.Number)
	}
	switch {
	case e.Breaks() && (st < live || c.tenthBroken()):
		c.s.note("broken packets", c, err)
		c.farewellAfter(answer, protocolError, "broken frame")
	case st == fresh:
		c.farewellAfter(answer, notAuthenticated, "the first request is connect")
	case answer != nil:
		c.packet(answer)
	}
}

// tenthBroken counts a broken frame and reports whether it is the tenth within a minute.
func (c *conn) tenthBroken() bool {
	now := c.s.clock()
	c.broken = append(c.broken, now)
	if len(c.broken) < brokenMax {
		return false
	}
	c.broken = c.broken[len(c.broken)-brokenMax:]
	return now-c.broken[0] < int64(brokenWindow)
}

// farewellAfter writes a last answer, if there is one, even before connect was answered, and closes.
func (c *conn) farewellAfter(answer []byte, code closeCode, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.last {
		return
	}
	if c.out.hold {
		c.out.clear()
		c.out.hold = false
	}
	if answer != nil {
		c.out.items = append(c.out.items, item{op: c.door.data, body: answer})
	}
	c.closeLocked(code, reason)
}
