package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	inFlight  = 48                     // requests of a connection that wait for their answer; the contract takes 64
	ackEvery  = 32                     // pushes; fewer are acknowledged within a second
	ackTick   = 100 * time.Millisecond // each tick acknowledges on a tenth of the connections
	drainTime = 15 * time.Second       // for what is under way when the schedule ends
	quietTime = 4 * time.Second        // nothing comes any more, though something is missing
	bodyBytes = 100
	dialing   = 32 // connections that are opened at a time; a server takes 50 of one address
)

// load is one run of a schedule: each message is due at its time after the start, whatever the server does (open loop).
type load struct {
	led   *ledger
	lines []*line // members·conversation + member
	start time.Time
	ended atomic.Bool   // the run is over: a lost connection is no error any more
	lost  chan error    // the first connection that was lost
	all   chan struct{} // closed when every message is accounted for
	once  sync.Once
}

// line is a connection with what waits on it.
type line struct {
	*conn
	conv, member int
	send         func(dst []byte, id uint32, clientMsgID []byte) []byte
	scratch      []byte // of the reader
	last         uint64 // seq of the newest push

	mu      sync.Mutex
	flight  int
	waiting []int // messages that are due and find the connection full
}

// room is one conversation of a load: where its members write to, each with an account of its own.
type room struct {
	id      string // of the conversation
	to      []target
	members []account
}

// open connects all members of all rooms.
func open(ctx context.Context, at doors, wire codec, rooms []room, led *ledger) (*load, error) {
	l := &load{led: led, lines: make([]*line, led.conversations*led.members), lost: make(chan error, 1), all: make(chan struct{})}
	text := strings.Repeat("x", bodyBytes)
	err := inParallel(ctx, dialing, len(l.lines), func(ctx context.Context, i int) error {
		conv, member := i/led.members, i%led.members
		c, err := dial(ctx, at.socket(i), wire, rooms[conv].members[member], 4<<10)
		if err != nil {
			return err
		}
		l.lines[i] = &line{conn: c, conv: conv, member: member, scratch: make([]byte, 0, 512), send: wire.sender(rooms[conv].to[member], text)}
		return nil
	})
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *load) close() {
	l.ended.Store(true)
	for _, c := range l.lines {
		if c != nil {
			c.close()
		}
	}
}

// run sends everything at its time and returns when all is accounted for, or when that takes too long, which is no
// error here: the balance tells. The connections are closed afterwards and nothing writes to the ledger any more.
func (l *load) run(ctx context.Context, rate int) error {
	return l.follow(ctx, schedule{{rate, len(l.led.messages)}})
}

// follow is run with a schedule of all messages.
func (l *load) follow(ctx context.Context, plan schedule) error {
	total := plan.lasts()
	ctx, cancel := context.WithTimeoutCause(ctx, total+drainTime, errDrained)
	defer cancel()
	stop := context.AfterFunc(ctx, l.close) // frees who waits for a socket
	defer stop()

	l.start = time.Now()
	var wg sync.WaitGroup
	for _, c := range l.lines {
		wg.Go(func() { l.read(c) })
	}
	wg.Go(func() { l.acknowledge(ctx) })
	wg.Go(func() { l.schedule(ctx, plan) })
	quiet := make(chan struct{})
	wg.Go(func() { l.listen(ctx, total, quiet) })
	var err error
	select {
	case <-l.all:
	case err = <-l.lost:
	case <-quiet:
	case <-ctx.Done():
		if cause := context.Cause(ctx); !errors.Is(cause, errDrained) {
			err = cause
		}
	}
	for _, c := range l.lines {
		_ = c.ack(nil, 1) // or the server would hand them back to offline push
	}
	cancel()
	l.close()
	wg.Wait()
	return err
}

// listen closes quiet when everything was due and nothing has come for a while: what is missing then does not come.
func (l *load) listen(ctx context.Context, total time.Duration, quiet chan<- struct{}) {
	if pause(ctx, total) != nil {
		return
	}
	for seen := int64(-1); seen != l.led.done.Load(); {
		seen = l.led.done.Load()
		if pause(ctx, quietTime) != nil {
			return
		}
	}
	close(quiet)
}

var errDrained = errors.New("what was under way did not come within the time for it")

// schedule sends each message when it is due. It holds a thread, so that naps are as exact as the system's.
func (l *load) schedule(ctx context.Context, plan schedule) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	scratch := make([]byte, 0, 512)
	for i := range l.led.messages {
		due := plan.due(i)
		for now := time.Since(l.start); now < due; now = time.Since(l.start) {
			nap(min(due-now, 50*time.Millisecond))
			if ctx.Err() != nil {
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		l.led.messages[i].due = due
		conv, sender := l.led.place(i)
		if err := l.offer(l.lines[l.led.members*conv+sender], i, scratch); err != nil {
			l.lose(err)
			return
		}
	}
}

// offer sends message i, or leaves it to the reader if too many are under way.
func (l *load) offer(c *line, i int, scratch []byte) error {
	c.mu.Lock()
	full := c.flight >= inFlight
	if full {
		c.waiting = append(c.waiting, i) // at most all messages of the run
	} else {
		c.flight++
	}
	c.mu.Unlock()
	if full {
		return nil
	}
	return l.write(c, i, scratch)
}

// write writes the request of message i, whose id is i + 1.
func (l *load) write(c *line, i int, scratch []byte) error {
	l.led.messages[i].sent = time.Since(l.start)
	var name [48]byte
	var buf [512]byte
	return c.write(scratch, c.send(buf[:0], uint32(i)+1, l.led.name(name[:0], i)))
}

// landed makes room for the next message that waits on c.
func (l *load) landed(c *line) error {
	c.mu.Lock()
	next := -1
	if len(c.waiting) > 0 {
		next, c.waiting = c.waiting[0], c.waiting[1:]
	} else {
		c.flight--
	}
	c.mu.Unlock()
	if next < 0 {
		return nil
	}
	return l.write(c, next, c.scratch)
}

// read accounts for what comes on c until it ends.
func (l *load) read(c *line) {
	for {
		data, err := c.conn.read()
		if err == nil {
			err = l.take(c, data)
		}
		if err != nil {
			l.lose(fmt.Errorf("conversation %d, member %d: %w", c.conv, c.member, err))
			return
		}
		if l.led.complete() {
			l.once.Do(func() { close(l.all) })
		}
	}
}

// lose remembers the first error of a run that is not over.
func (l *load) lose(err error) {
	if l.ended.Load() {
		return
	}
	select {
	case l.lost <- err:
	default:
	}
}

// take accounts for one frame. Frames that are neither an answer nor an entry (receipts, presence) are passed over.
func (l *load) take(c *line, data []byte) error {
	now := time.Since(l.start)
	e, err := c.wire.parse(data)
	switch {
	case err != nil:
		return err
	case e.kind == answer:
		if e.refused {
			l.led.refusedAs(int(e.id)-1, reasonOf(e), e.retryAfter)
			l.led.answered(c.conv, c.member, int(e.id)-1, now, 0, "", reasonOf(e))
		} else {
			l.led.answered(c.conv, c.member, int(e.id)-1, now, e.seq, string(e.messageID), "")
		}
		return l.landed(c)
	case e.kind != entry:
		return nil
	}
	if e.n != c.got.Load()+1 {
		l.led.pushGaps.Add(1)
	}
	c.got.Store(e.n)
	if e.seq < c.last {
		l.led.outOfTurn.Add(1)
	}
	c.last = e.seq
	l.led.pushed(c.conv, c.member, e.clientMsgID, now, e.seq)
	return c.ack(c.scratch, ackEvery)
}

// acknowledge sends acks for what has come within a second.
func (l *load) acknowledge(ctx context.Context) {
	ticks := time.NewTicker(ackTick)
	defer ticks.Stop()
	scratch := make([]byte, 0, 128)
	for turn := 0; ; turn++ {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
		for i := turn % 10; i < len(l.lines); i += 10 {
			if err := l.lines[i].ack(scratch, 1); err != nil {
				l.lose(err)
				return
			}
		}
	}
}

// reasonOf is never empty.
func reasonOf(e event) string {
	if e.reason == "" {
		return "UNKNOWN"
	}
	return e.reason
}
