package oceanchat

import (
	"context"
	"errors"
	"time"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
)

const (
	pingTimeout  = 5 * time.Second
	probeTimeout = 3 * time.Second // of a ping when there is reason for doubt
	probeEvery   = 5 * time.Second // Probe does nothing more often
	clockEvery   = 5 * time.Second // how often a session looks at the clock
	clockJump    = 10 * time.Second
)

var errSilent = errors.New("no answer to a ping")

// Probe tells the client that the network may be another one now: the program came to the foreground, the machine got
// another address. A client that is connected asks for a sign of life at once and connects anew if none comes within 3 s;
// one that waits tries now, but not before a time that the server set. More often than every 5 s it does nothing. After
// the machine slept the client does this by itself.
func (c *Client) Probe() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.probed.IsZero() || now.Sub(c.probed) >= probeEvery {
		c.probed = now
		switch {
		case c.session != nil:
			poke(c.session.probes)
		case c.state.Phase == Waiting:
			poke(c.hurry)
		}
	}
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// pause waits for d, or from floor on until Probe is called; false if ctx ended before.
func (c *Client) pause(ctx context.Context, d, floor time.Duration) bool {
	select { // meant for an earlier wait
	case <-c.hurry:
	default:
	}
	began := time.Now()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-c.hurry:
		return sleep(ctx, floor-time.Since(began))
	case <-ctx.Done():
		return false
	}
}

// beat asks for a sign of life after each heartbeat of silence, and whenever there is reason to doubt the connection.
func (s *session) beat(heartbeat time.Duration) {
	look := time.NewTicker(clockEvery)
	defer look.Stop()
	last := s.c.clock().Round(0) // of the wall clock: the other one may stand still while the machine sleeps
	for {
		left := heartbeat - (time.Since(s.began) - time.Duration(s.heard.Load()))
		if left <= 0 {
			if !s.ping(pingTimeout) {
				return
			}
			continue
		}
		silence := time.NewTimer(left)
		select {
		case <-silence.C:
		case <-look.C:
			now := s.c.clock().Round(0)
			if now.Sub(last) > clockEvery+clockJump {
				poke(s.probes)
			}
			last = now
		case <-s.probes:
			if !s.ping(probeTimeout) {
				silence.Stop()
				return
			}
		case <-s.ctx.Done():
		}
		silence.Stop()
		if s.ctx.Err() != nil {
			return
		}
	}
}

// ping reports whether the server lives; if not, the session has ended. Any answer is one.
func (s *session) ping(limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	err := s.call(ctx, laneSend, "ping", &wirev1.PingRequest{}, &wirev1.PingResponse{})
	var answer *Error
	switch {
	case err == nil || errors.As(err, &answer):
		return true
	case errors.Is(err, context.DeadlineExceeded):
		s.fail(errSilent)
	}
	return false
}
