package fakeserver

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/gobwas/ws"
	"google.golang.org/protobuf/proto"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
)

const subprotocol = "oceanchat.proto"

// conn is one WebSocket. What is said on it waits in out, so that nobody waits for a slow client.
type conn struct {
	s      *Server
	nc     net.Conn
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // has a token when out has something

	// The rest is guarded by the server's mutex.
	session *session
	user    string
	live    bool // connect was answered
	n       uint64
	acked   uint64
	out     []packet
	held    []packet // go out behind the next packet
	closing bool     // nothing is queued any more
}

// packet is the bytes of a frame, and whether the connection ends behind it.
type packet struct {
	bytes []byte
	last  bool
}

func (s *Server) serveWS(w http.ResponseWriter, r *http.Request) {
	if rule := s.match(AtHandshake, ""); rule != nil {
		w.Header().Set("Retry-After", strconv.Itoa(rule.RetryAfterMs/1000))
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	nc, rw, _, err := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == subprotocol }}.Upgrade(r, w)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &conn{s: s, nc: nc, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	s.wg.Go(c.write)
	s.wg.Go(func() {
		<-ctx.Done()
		_ = nc.Close()
	})
	s.wg.Go(func() { c.read(rw.Reader) })
}

// read acts on frames until the socket ends.
func (c *conn) read(r io.Reader) {
	defer c.s.forget(c)
	for {
		h, err := ws.ReadHeader(r)
		if err != nil {
			return
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(r, payload); err != nil {
			return
		}
		ws.Cipher(payload, h.Mask, 0)
		switch h.OpCode {
		case ws.OpClose:
			return
		case ws.OpBinary:
		default:
			continue
		}
		f := &wirev1.ClientFrame{}
		if proto.Unmarshal(payload, f) != nil || !h.Masked || !h.Fin {
			c.s.mu.Lock()
			c.close(4004, 0, false)
			c.s.mu.Unlock()
			continue
		}
		c.request(f)
	}
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.cut()
	delete(s.conns, c)
}

// write sends what waits until the connection ends.
func (c *conn) write() {
	for {
		c.s.mu.Lock()
		out := c.out
		c.out = nil
		c.s.mu.Unlock()
		for _, p := range out {
			if _, err := c.nc.Write(p.bytes); err != nil || p.last {
				c.cancel()
				return
			}
		}
		select {
		case <-c.wake:
		case <-c.ctx.Done():
			return
		}
	}
}

// queue adds a packet, and behind it what a rule held back. The server's mutex is held.
func (c *conn) queue(p packet) {
	if c.closing {
		return
	}
	c.out = append(append(c.out, p), c.held...)
	c.held = nil
	c.closing = p.last
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// cut breaks the connection now. The server's mutex is held.
func (c *conn) cut() {
	c.closing, c.live = true, false
	c.cancel()
}

// close says disconnect and goodbye. The server's mutex is held.
func (c *conn) close(code int, retryAfter time.Duration, silent bool) {
	if code == 1006 { // the number that clients give to an end without a word
		c.cut()
		return
	}
	if !silent {
		reconnect := code != 4002 && code != 4003 && code != 4004
		c.queue(packet{bytes: frame(pushFrame("disconnect", &wirev1.DisconnectPush{
			Code: int32(code), Reason: "scripted", Reconnect: reconnect, RetryAfterMs: retryAfter.Milliseconds(),
		}))})
	}
	body := append(binary.BigEndian.AppendUint16(nil, uint16(code)), "scripted"...)
	c.queue(packet{bytes: ws.MustCompileFrame(ws.NewCloseFrame(body)), last: true})
	c.live = false
}

// say sends a frame, unless a rule has something else in mind. The server's mutex is held.
func (c *conn) say(at Point, method string, f *wirev1.ServerFrame) {
	p := packet{bytes: frame(f)}
	rule := c.s.matchLocked(at, method)
	if rule == nil {
		c.queue(p)
		return
	}
	switch rule.Do {
	case Drop, Fail:
	case Delay:
		c.s.wg.Go(func() {
			if wait(c.ctx, rule.delay()) {
				c.s.mu.Lock()
				c.queue(p)
				c.s.mu.Unlock()
			}
		})
	case Duplicate:
		c.queue(p)
		c.queue(p)
	case Hold:
		c.held = append(c.held, p)
	case Cut:
		c.cut()
	case CutMid:
		c.queue(packet{bytes: p.bytes[:len(p.bytes)/2], last: true})
		c.live = false
	case Close:
		c.close(rule.Code, rule.retryAfter(), rule.Silent)
	}
}

func (c *conn) push(method string, m proto.Message) { c.say(AtPush, method, pushFrame(method, m)) }

func pushFrame(method string, m proto.Message) *wirev1.ServerFrame {
	return &wirev1.ServerFrame{Kind: &wirev1.ServerFrame_Push{Push: &wirev1.Push{Method: method, Params: encode(m)}}}
}

func encode(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err) // a test handed in text that is no UTF-8
	}
	return b
}

func frame(f *wirev1.ServerFrame) []byte { return ws.MustCompileFrame(ws.NewBinaryFrame(encode(f))) }
