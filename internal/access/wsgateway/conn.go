package wsgateway

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gobwas/ws"
	"google.golang.org/protobuf/types/known/timestamppb"

	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// A door is one way to connect: how bytes are framed, how packets are encoded. All connections of a door share it.
type door struct {
	name     string
	form     wire.Form
	framing  framing
	data     ws.OpCode // of a frame that carries a packet
	controls bool      // pings, pongs and closes are frames of their own
}

// The doors.
var (
	jsonDoor  = &door{"oceanchat.json", wire.JSON, webSocket{ws.OpText}, ws.OpText, true}
	protoDoor = &door{"oceanchat.proto", wire.Proto, webSocket{ws.OpBinary}, ws.OpBinary, true}
	tcpDoor   = &door{"tcp", wire.Proto, varintTCP{}, ws.OpBinary, false}
)

// The life of a connection; it only goes forward.
type state int32

const (
	fresh      state = iota // nothing but connect is taken
	connecting              // connect is at work; requests queue up
	live
	closing // the close is on its way; nothing is taken any more
	gone    // forgotten everywhere
)

// conn is one long connection. Its reader goroutine owns what arrives and, at the end, the cleaning up; flushers write.
// There are as many as users, so each field counts: what only an active connection needs is allocated then.
type conn struct {
	s        *Service
	door     *door
	nc       net.Conn
	raw      syscall.RawConn // nil: reads and writes block
	remote   netip.Addr
	id       calls.Identity // complete once the state is live; ConnectionID from the start
	accepted int64          // when, on the service's clock

	heard  atomic.Int64 // when the client was last heard, on the service's clock
	state  atomic.Int32 // a state
	worked atomic.Bool  // the reader has worked since it was started
	shedAt atomic.Int64 // when a request was last refused because it waited too long; 0: never

	// The reader's own.
	in      []byte // the beginning of a frame
	partial partial
	broken  []int64 // when the last broken frames came
	deaf    bool    // what comes is thrown away
	replace bool    // another reader takes over

	nextReady   *conn // guarded by the ready list
	nextSession *conn // guarded by the registry

	mu         sync.Mutex // guards all below
	out        outbox
	push       pushes
	req        *requests // nil while none is under way
	peerClosed bool      // the client sent a close, or ended its side
	said       bool      // presence was told
	drain      bool      // closes with 4006 when the last request is answered
	over       bool      // closes with 4002 when what is at work is answered; takes nothing more
	counted    bool      // counts against the address's unauthenticated connections
	ended      closeCode // why it closes
	deadline   int64     // while closing: when the socket is closed whatever the client does
}

func (c *conn) is(st state) bool { return state(c.state.Load()) == st }

// presence returns where the connection's device is, for presence.
func (c *conn) presence() *presencev1.Connection {
	return &presencev1.Connection{
		UserId: string(c.id.UserID), DeviceId: string(c.id.DeviceID), SessionId: string(c.id.SessionID),
		GatewayId: string(c.s.id), ConnectionId: string(c.id.ConnectionID), Platform: c.id.Platform,
		Status: presencev1.Status_STATUS_ONLINE, Since: timestamppb.New(c.s.started.Add(time.Duration(c.accepted))),
	}
}

// send queues items in order. It does nothing on a connection that is closing; one whose queue is full is closed.
func (c *conn) send(items ...item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sendLocked(items...)
}

func (c *conn) sendLocked(items ...item) bool {
	if c.out.last {
		return false
	}
	if !c.out.add(&c.s.cfg, items...) {
		c.s.m.overflow.Inc()
		c.closeLocked(tooSlow, "output queue is full")
		return false
	}
	c.wake()
	return true
}

// packet queues a whole packet.
func (c *conn) packet(b []byte) { c.send(item{op: c.door.data, body: b}) }

// close tells the client why and closes. What waits is still written, unless the client is too slow for it.
func (c *conn) close(code closeCode, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked(code, reason)
}

func (c *conn) closeLocked(code closeCode, reason string) {
	if c.out.last {
		return
	}
	if code == tooSlow || c.out.hold {
		c.out.clear()
	}
	c.out.hold = false
	// Beyond the bound on purpose: one farewell always fits.
	c.out.items = append(c.out.items, c.farewell(code, reason)...)
	c.endLocked(code)
}

// endLocked is the last step of every close: nothing is queued after it.
func (c *conn) endLocked(code closeCode) {
	c.ended = code
	c.state.Store(int32(max(c.stateNow(), closing)))
	c.deadline = c.s.clock() + int64(c.s.cfg.CloseTimeout)
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.s.cfg.CloseTimeout))
	c.out.last = true
	c.wake()
	c.req.wakeReader()
}

func (c *conn) stateNow() state { return state(c.state.Load()) }

// advance moves to a later state, and reports false if the connection is closing already.
func (c *conn) advance(from, to state) bool { return c.state.CompareAndSwap(int32(from), int32(to)) }
