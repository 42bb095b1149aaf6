package oceanchat

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/sdk/go/internal/link"
)

const (
	maxInFlight    = 48           // the server ends a connection with more than 64
	maxRequest     = 64<<10 - 256 // the server ends a connection with a frame above 64 KiB; the rest is the envelope
	pushQueue      = 256
	pushBatch      = 64 // entries that are stored with one write
	ackEvery       = 32
	ackAfter       = time.Second
	connectTimeout = 10 * time.Second
	lastWords      = time.Second
)

// The lanes: one request per lane is at work at a time, so reading does not hold back sending.
const (
	laneSend uint32 = iota
	laneRepair
	laneCall
	laneSync
)

// session is one connection. Everything that belongs to it ends with it.
type session struct {
	c      *Client
	conn   link.Conn
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	slots  chan struct{} // a place for each request in flight
	pushes chan *wirev1.Push
	probes chan struct{} // has a token when the connection is to be probed now
	began  time.Time
	heard  atomic.Int64 // when the last frame came, in nanoseconds since began: no clock that is set moves it
	bye    atomic.Pointer[wirev1.DisconnectPush]
	syncs  sync.Mutex  // held while what a sync told is merged, from its first page to its last
	resync atomic.Bool // one waits for its turn, and will tell of all that came before

	mu      sync.Mutex // guards below
	next    uint32
	pending map[uint32]chan *wirev1.Reply
}

// connectError says that the server answered connect with an error.
type connectError struct{ err *Error }

func (e *connectError) Error() string { return "connect: " + e.err.Error() }

func newSession(ctx context.Context, c *Client, conn link.Conn) *session {
	s := &session{
		c: c, conn: conn, slots: make(chan struct{}, maxInFlight), pushes: make(chan *wirev1.Push, pushQueue),
		pending: map[uint32]chan *wirev1.Reply{}, probes: make(chan struct{}, 1), began: time.Now(),
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	return s
}

// fail ends the session; the first cause counts.
func (s *session) fail(err error) { s.cancel(err) }

// serve connects, synchronises and works until the connection ends. It returns how long the client was online, and why
// it is not any more. When it returns nothing of the session runs.
func (s *session) serve(token string) (online time.Duration, err error) {
	s.wg.Go(s.read)
	s.wg.Go(func() { // closing the socket is what ends the reader
		<-s.ctx.Done()
		_ = s.conn.Close()
	})
	defer s.wg.Wait()
	var since time.Time
	if err := s.open(token); err != nil {
		s.fail(err)
	} else {
		since = time.Now()
		<-s.ctx.Done()
	}
	s.c.left(s)
	if !since.IsZero() {
		online = max(time.Since(since), 1)
	}
	return online, context.Cause(s.ctx)
}

// open brings the session from the first request to online.
func (s *session) open(token string) error {
	ctx, cancel := context.WithTimeout(s.ctx, connectTimeout)
	defer cancel()
	first := &wirev1.ConnectResponse{}
	req := &wirev1.ConnectRequest{
		Token: token, DeviceId: s.c.opts.DeviceID, Platform: s.c.opts.Platform, SyncToken: s.c.syncToken(), Acks: true,
	}
	err := s.call(ctx, laneSend, "connect", req, first)
	var answer *Error
	if errors.As(err, &answer) {
		return &connectError{answer}
	}
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := s.enter(first); err != nil {
		return err
	}
	offered := make(chan struct{})
	s.wg.Go(func() { s.c.sendLoop(s, offered) })
	select {
	case <-offered:
		s.c.isOnline(s)
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// enter makes s the client's session and merges what connect told. A resync that is pushed meanwhile comes after it.
func (s *session) enter(first *wirev1.ConnectResponse) error {
	s.syncs.Lock()
	defer s.syncs.Unlock()
	if err := s.c.entered(s, first); err != nil {
		return err
	}
	s.wg.Go(s.apply)
	heartbeat := time.Duration(first.GetHeartbeatSeconds()) * time.Second
	s.wg.Go(func() { s.beat(max(heartbeat, time.Second)) })
	if err := s.c.named(s); err != nil {
		return err
	}
	return s.c.syncAll(s, page(first))
}

// call sends a request and waits for its answer. The error is an *Error, ErrConnectionLost with the cause, or the
// context's.
func (s *session) call(ctx context.Context, lane uint32, method string, req, resp proto.Message) error {
	params, err := proto.Marshal(req)
	if err != nil {
		return fmt.Errorf("encode %s: %w", method, err)
	}
	if len(params) > maxRequest {
		return &Error{Code: "INVALID_ARGUMENT", Reason: "TOO_LARGE", Message: "the request does not fit a frame of 64 KiB"}
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return s.lost()
	}
	id, answer := s.register()
	if err := s.conn.Write(&wirev1.ClientFrame{Id: &id, Lane: lane, Method: method, Params: params}); err != nil {
		s.failSoon(err)
	}
	select {
	case r := <-answer:
		return result(method, r, resp)
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		select { // an answer that came just before the end counts
		case r := <-answer:
			return result(method, r, resp)
		default:
			return s.lost()
		}
	}
}

func (s *session) lost() error { return fmt.Errorf("%w: %w", ErrConnectionLost, context.Cause(s.ctx)) }

func result(method string, r *wirev1.Reply, resp proto.Message) error {
	if e := r.GetError(); e != nil {
		return fromWire(e)
	}
	if err := proto.Unmarshal(r.GetResult(), resp); err != nil {
		return fmt.Errorf("decode the answer to %s: %w", method, err)
	}
	return nil
}

// register makes an id for a request. The answer's place stays until it comes or the session ends, for the server
// counts a request as in flight that long, whoever has stopped waiting.
func (s *session) register() (uint32, chan *wirev1.Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.next++; s.pending[s.next] != nil; s.next++ {
	}
	ch := make(chan *wirev1.Reply, 1)
	s.pending[s.next] = ch
	return s.next, ch
}

// notify sends a request that nobody answers.
func (s *session) notify(lane uint32, method string, req proto.Message) {
	params, err := proto.Marshal(req)
	if err == nil {
		err = s.conn.Write(&wirev1.ClientFrame{Lane: lane, Method: method, Params: params})
	}
	if err != nil {
		s.failSoon(err)
	}
}

// failSoon ends the session after a write that failed, but lets the reader find the server's last words first: they say
// whether to come back.
func (s *session) failSoon(err error) {
	time.AfterFunc(lastWords, func() { s.fail(err) })
}

// read takes what the server sends until the connection ends.
func (s *session) read() {
	for {
		f, err := s.conn.Read()
		if err != nil {
			s.fail(err)
			return
		}
		s.heard.Store(int64(time.Since(s.began)))
		if r := f.GetReply(); r != nil {
			s.replied(r)
		}
		if p := f.GetPush(); p != nil && !s.pushed(p) {
			return
		}
	}
}

func (s *session) replied(r *wirev1.Reply) {
	s.mu.Lock()
	ch := s.pending[r.GetId()]
	delete(s.pending, r.GetId())
	s.mu.Unlock()
	if ch != nil {
		ch <- r
		<-s.slots
	}
}

// pushed queues a push. A full queue holds the reader, so that back-pressure reaches the server.
func (s *session) pushed(p *wirev1.Push) bool {
	switch p.GetMethod() {
	case "ping":
		s.notify(laneSend, "pong", &wirev1.PingResponse{})
		return true
	case "disconnect":
		bye := &wirev1.DisconnectPush{}
		if proto.Unmarshal(p.GetParams(), bye) == nil {
			s.bye.Store(bye)
		}
		return true
	}
	select {
	case s.pushes <- p:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// apply takes pushes in their order and acknowledges entries once they are stored.
func (s *session) apply() {
	var acked, n uint64
	timer := time.NewTimer(ackAfter)
	timer.Stop()
	defer timer.Stop()
	ack := func() {
		s.notify(laneSend, "ack", &wirev1.AckRequest{N: n})
		acked = n
	}
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-timer.C:
			ack()
			continue
		case p := <-s.pushes:
			last, err := s.take(p)
			if err != nil {
				s.fail(err)
				return
			}
			if last == 0 {
				continue
			}
			if n == acked {
				timer.Reset(ackAfter)
			}
			if n = max(n, last); n-acked >= ackEvery {
				ack()
				timer.Stop()
			}
		}
	}
}

// take applies p and the entries that wait behind it. It returns the number of the last entry, or 0.
func (s *session) take(p *wirev1.Push) (uint64, error) {
	var entries []*messagev1.Entry
	var n uint64
	for {
		if p.GetMethod() == "entry" {
			push := &wirev1.EntryPush{}
			if err := proto.Unmarshal(p.GetParams(), push); err != nil {
				return n, fmt.Errorf("decode an entry: %w", err)
			}
			entries, n = append(entries, push.GetEntry()), max(n, push.GetN())
		} else if err := s.c.told(s, p); err != nil {
			return n, err
		}
		if len(entries) >= pushBatch || p.GetMethod() != "entry" {
			break
		}
		var more bool
		if p, more = s.waiting(); !more {
			break
		}
	}
	return n, s.c.offer(s, entries)
}

func (s *session) waiting() (*wirev1.Push, bool) {
	select {
	case p := <-s.pushes:
		return p, true
	default:
		return nil, false
	}
}
