package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"github.com/oceanchat/oceanchat/test/client"
	"github.com/oceanchat/oceanchat/test/history"
)

const (
	inFlight  = 48                     // requests of a connection that wait for their answer; the contract takes 64
	ackEvery  = 32                     // pushes; fewer are acknowledged within a second
	ackTick   = 100 * time.Millisecond // each tick acknowledges on a tenth of the connections
	drainTime = 15 * time.Second       // for what is under way when the schedule ends
	bodyBytes = 100
)

// load is one run of the schedule: message i is due at i/rate after the start, whatever the server does (open loop).
type load struct {
	led   *ledger
	lines []*line // 2·pair + role
	start time.Time
	ended atomic.Bool   // the run is over: a lost connection is no error any more
	lost  chan error    // the first connection that was lost
	all   chan struct{} // closed when every message is accounted for
	once  sync.Once
}

// line is a connection with what waits on it.
type line struct {
	*conn
	pair, role int
	request    string // what stands between an id and a message's number, and behind it
	scratch    []byte // of the reader

	mu      sync.Mutex
	flight  int
	waiting []int // messages that are due and find the connection full
}

// open connects both users of each pair.
func open(ctx context.Context, base string, accounts []account, led *ledger) (*load, error) {
	l := &load{led: led, lines: make([]*line, 2*led.pairs), lost: make(chan error, 1), all: make(chan struct{})}
	err := inParallel(ctx, len(l.lines), func(ctx context.Context, i int) error {
		c, err := dial(ctx, base, accounts[i].devices[0], 8<<10)
		if err != nil {
			return err
		}
		l.lines[i] = &line{
			conn: c, pair: i / 2, role: i % 2, scratch: make([]byte, 0, 1024),
			request: `","toUserId":"` + accounts[i^1].id + `","text":{"text":"` + strings.Repeat("x", bodyBytes) + `"}}}`,
		}
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
	gap := time.Second / time.Duration(rate)
	total := time.Duration(len(l.led.messages)) * gap
	ctx, cancel := context.WithTimeout(ctx, total+drainTime)
	defer cancel()
	stop := context.AfterFunc(ctx, l.close) // frees who waits for a socket
	defer stop()

	l.start = time.Now()
	var wg sync.WaitGroup
	for _, c := range l.lines {
		wg.Go(func() { l.read(c) })
	}
	wg.Go(func() { l.acknowledge(ctx) })
	wg.Go(func() { l.schedule(ctx, gap) })
	var err error
	select {
	case <-l.all:
	case err = <-l.lost:
	case <-ctx.Done():
		if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
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

// schedule sends each message when it is due. It holds a thread, so that naps are as exact as the system's.
func (l *load) schedule(ctx context.Context, gap time.Duration) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	scratch := make([]byte, 0, 1024)
	for i := range l.led.messages {
		due := time.Duration(i) * gap
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
		pair, sender := l.led.place(i)
		if err := l.offer(l.lines[2*pair+sender], i, scratch); err != nil {
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
	return l.send(c, i, scratch)
}

// send writes the request of message i, whose id is i + 1.
func (l *load) send(c *line, i int, scratch []byte) error {
	l.led.messages[i].sent = time.Since(l.start)
	var buf [512]byte
	payload := fmt.Appendf(buf[:0], `{"jsonrpc":"2.0","id":%d,"method":"message.send","params":{"clientMsgId":"m%d%s`, i+1, i, c.request)
	return c.write(scratch, ws.OpText, payload)
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
	return l.send(c, next, c.scratch)
}

// read accounts for what comes on c until it ends.
func (l *load) read(c *line) {
	for {
		data, err := c.read()
		if err == nil {
			err = l.take(c, data)
		}
		if err != nil {
			l.lose(fmt.Errorf("pair %d: %w", c.pair, err))
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
	if id, ok := headNumber(data, answerHead); ok {
		seq, placed := numberAfter(data, `"seq":`)
		refusal := ""
		if !placed || stringAfter(data, `"messageId":"`) == "" {
			refusal = string(data)
		}
		l.led.answered(c.pair, c.role, int(id)-1, now, seq, stringAfter(data, `"messageId":"`), refusal)
		return l.landed(c)
	}
	n, ok := headNumber(data, entryHead)
	if !ok {
		return nil
	}
	if n != c.got.Load()+1 {
		l.led.pushGaps.Add(1)
	}
	c.got.Store(n)
	i, marked := numberAfter(data, `"clientMsgId":"m`)
	seq, placed := numberAfter(data, `"seq":`)
	if !marked || !placed {
		l.led.strays.Add(1)
		return nil
	}
	l.led.pushed(c.pair, c.role, int(i), now, seq)
	return c.ack(c.scratch, ackEvery)
}

// headNumber returns the number behind head, if data begins with head.
func headNumber(data []byte, head string) (uint64, bool) {
	if len(data) < len(head) || string(data[:len(head)]) != head {
		return 0, false
	}
	return numberAfter(data[len(head):], "")
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

// readLogs compares what was acknowledged with what the log holds, read from start to end over REST.
func readLogs(ctx context.Context, base string, accounts []account, led *ledger) ([]string, error) {
	var check history.Checker
	names := make([]string, led.pairs)
	err := inParallel(ctx, led.pairs, func(ctx context.Context, pair int) error {
		a, b := accounts[2*pair], accounts[2*pair+1]
		names[pair] = direct(a.id, b.id)
		log, err := readLog(ctx, a.rest(base), names[pair])
		check.Log(names[pair], log)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	for i := range led.messages {
		m := &led.messages[i]
		if m.acks == 0 {
			continue
		}
		pair, sender := led.place(i)
		check.Acked(history.Entry{
			Conversation: names[pair], Seq: m.ackSeq, MessageID: m.id,
			ClientMsgID: fmt.Sprintf("m%d", i), Sender: accounts[2*pair+sender].id,
		})
	}
	wrong := check.Violations()
	return wrong[:min(len(wrong), 20)], nil
}

// direct returns the id of the conversation of two users.
func direct(a, b string) string { return "d~" + min(a, b) + "~" + max(a, b) }

func readLog(ctx context.Context, r client.REST, conversation string) ([]history.Entry, error) {
	var log []history.Entry
	for after := uint64(0); ; {
		var page struct {
			Entries []client.Entry
			ToSeq   uint64
			HasMore bool
		}
		path := fmt.Sprintf("/conversations/%s/entries?afterSeq=%d&limit=100", conversation, after)
		if err := r.Do(ctx, "GET", path, nil, &page); err != nil {
			return nil, err
		}
		for _, e := range page.Entries {
			log = append(log, history.Entry{
				Conversation: conversation, Seq: e.Seq, MessageID: e.MessageID, ClientMsgID: e.ClientMsgID, Sender: e.SenderID,
			})
		}
		if !page.HasMore || page.ToSeq <= after {
			return log, nil
		}
		after = page.ToSeq
	}
}
