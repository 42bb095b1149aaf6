package oceanchat

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oceanchat/oceanchat/sdk/go/store"
)

const dialTimeout = 15 * time.Second

// retries is what the loop remembers from one attempt to the next.
type retries struct {
	n       int    // failures in a row, for the back-off
	unknown int    // closes by an unknown code in a row
	refused string // the access token that the server did not take
}

// outcome is how an attempt ended.
type outcome struct {
	verdict
	err    error
	token  string // that was used
	fresh  bool   // it was got for this attempt, after another one was refused
	online time.Duration
}

// loop connects again and again until ctx ends or a verdict forbids it.
func (c *Client) loop(ctx context.Context) *ClosedError {
	var r retries
	for {
		o := c.attempt(ctx, r.refused)
		if ctx.Err() != nil {
			return &ClosedError{Stopped, nil}
		}
		wait, end := r.next(o)
		if o.wipe {
			c.wipe()
		}
		if end != nil {
			return end
		}
		c.log.Info("not connected", "err", o.err, "retry_after", wait)
		c.setState(State{Phase: Waiting, RetryAt: time.Now().Add(wait), Err: o.err})
		if !c.pause(ctx, wait, o.floor) {
			return &ClosedError{Stopped, nil}
		}
		c.setState(State{Phase: Connecting, Err: o.err})
	}
}

// next says how long to wait after an attempt, or that there is no use.
func (r *retries) next(o outcome) (time.Duration, *ClosedError) {
	if o.online >= steadyAfter {
		r.n = 0
	}
	if o.unknown {
		r.unknown++
	} else if o.online >= steadyAfter {
		r.unknown = 0
	}
	if o.token != "" { // else no other one was had yet
		r.refused = ""
	}
	switch {
	case o.closed != "":
		return 0, &ClosedError{o.closed, o.err}
	case r.unknown >= unknownTries:
		return 0, &ClosedError{Refused, o.err}
	case o.refresh && o.fresh && o.online == 0: // the server takes none
		return 0, &ClosedError{Unauthenticated, o.err}
	case o.refresh:
		r.refused = o.token
		if !o.fresh {
			return 0, nil
		}
	}
	wait := o.floor + backoff(r.n)
	r.n++
	return wait, nil
}

// attempt is one connection from the token to its end.
func (c *Client) attempt(ctx context.Context, refused string) outcome {
	if err := c.load(ctx); err != nil {
		return outcome{err: err}
	}
	token, err := c.token(ctx, refused)
	if err != nil {
		return outcome{err: err, verdict: judgeToken(err)}
	}
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	conn, err := c.dialer().Dial(dialing, c.at)
	cancel()
	if err != nil {
		return outcome{err: err, token: token, verdict: judgeRefusal(err)}
	}
	s := newSession(ctx, c, conn)
	online, err := s.serve(token)
	o := outcome{err: cause(err, s.bye.Load()), token: token, fresh: refused != "", online: online}
	var end *ClosedError
	var refusal *connectError
	switch {
	case errors.As(err, &end):
		o.closed, o.err = end.Reason, end.Err
	case errors.As(err, &refusal):
		o.verdict = judgeRefusal(refusal.err)
		if o.closed == SessionEnded && c.mayLogIn() { // an old session of the store: token finds that out and logs in
			o.verdict = verdict{refresh: true}
		}
	default:
		o.verdict = judge(err, s.bye.Load())
	}
	return o
}

// load reads the store, at the start and whenever memory may be ahead of it.
func (c *Client) load(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loaded && !c.stale {
		return nil
	}
	st, err := c.store.Load(ctx)
	if err != nil {
		return fmt.Errorf("load the store: %w", err)
	}
	c.meta = st.Meta
	clear(c.convs)
	for _, info := range st.Conversations {
		id := info.GetConversationId()
		c.convs[id] = newConv(id, info, st.Held[id])
	}
	if !c.loaded { // later the outbox in memory is the newer one
		if err := c.outbox.load(c.meta.UserID, st.Outbox); err != nil {
			return err
		}
		for _, cur := range st.Cursors {
			c.cursor(cur.Reader)[cur.Conversation] = cur.Seq
		}
	}
	c.loaded, c.stale = true, false
	return nil
}

// commit stores b. Afterwards memory and store agree, or the connection ends and memory is read again. c.mu is held.
func (c *Client) commit(b store.Batch) error {
	if b.Empty() {
		return nil
	}
	if err := c.store.Apply(context.Background(), b); err != nil { // a cancelled one would tear memory from store
		err = fmt.Errorf("write to the store: %w", err)
		c.stale = true
		if c.session != nil {
			c.session.fail(err)
		}
		return err
	}
	if b.Meta != nil {
		c.meta = *b.Meta
	}
	return nil
}

// wipe forgets the session and the cache, and keeps what was to be sent.
func (c *Client) wipe() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.commit(store.Batch{Wipe: true}); err != nil {
		c.log.Warn("cache not wiped", "err", err)
		return
	}
	c.meta = store.Meta{UserID: c.meta.UserID}
	clear(c.convs)
}

// sleep waits for d; false if ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
