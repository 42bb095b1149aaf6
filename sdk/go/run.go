package oceanchat

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
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
	token, err := c.AccessToken(ctx, refused)
	var end *ClosedError
	switch {
	case errors.As(err, &end):
		return outcome{err: end.Err, verdict: verdict{closed: end.Reason}}
	case err != nil:
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
	var refusal *connectError
	switch {
	case errors.As(err, &end):
		o.closed, o.err = end.Reason, end.Err
	case errors.As(err, &refusal):
		o.verdict, o.err = c.judgeConnect(refusal.err)
	default:
		o.verdict = judge(err, s.bye.Load())
	}
	return o
}

// judgeConnect is judgeRefusal for the answer to connect. A session of the store that the server does not take may be
// one of the past, or, where the store does not say so, of another device: the password makes another one.
func (c *Client) judgeConnect(err *Error) (verdict, error) {
	v := judgeRefusal(err)
	switch {
	case v.closed == SessionEnded && c.mayLogIn(): // token finds that out and logs in
		return verdict{refresh: true}, err
	case err.Code != "INVALID_ARGUMENT" || c.opts.Tokens != nil:
	case c.mayLogIn():
		return verdict{refresh: true}, errors.Join(err, c.dropTokens())
	default:
		return v, fmt.Errorf("%w (is DeviceID %s the one that the session was made with?)", err, c.opts.DeviceID)
	}
	return v, err
}

// load reads the store, at the start and whenever memory may be ahead of it. It returns a *ClosedError if the store is
// another user's.
func (c *Client) load(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.loaded || c.stale {
		if err := c.read(ctx); err != nil {
			return err
		}
	}
	return c.owned(c.meta.Username)
}

// owned returns a *ClosedError if what belongs to a user of this name is not what the application asked for.
func (c *Client) owned(name string) error {
	if me := strings.ToLower(c.opts.Username); me != "" && name != "" && me != name {
		return &ClosedError{WrongUser, fmt.Errorf("the Store belongs to user %s, not to %s", name, me)}
	}
	return nil
}

// named makes sure that the session is the user's whom the application named: a store of an older version does not say
// so, and then the server is asked, once.
func (c *Client) named(s *session) error {
	c.mu.Lock()
	known := c.opts.Username == "" || c.meta.Username != ""
	c.mu.Unlock()
	if known {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, connectTimeout)
	defer cancel()
	r := &userv1.UserResponse{}
	if err := s.call(ctx, laneSync, "user.getMe", &userv1.GetMeRequest{}, r); err != nil {
		return fmt.Errorf("ask whose session it is: %w", err)
	}
	name := strings.ToLower(r.GetUser().GetUsername())
	if err := c.owned(name); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.meta
	m.Username = name
	return c.commit(store.Batch{Meta: &m})
}

// read takes everything from the store. c.mu is held.
func (c *Client) read(ctx context.Context) error {
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
	if err := c.commit(store.Batch{Wipe: true, Meta: &store.Meta{UserID: c.meta.UserID, Username: c.meta.Username}}); err != nil {
		c.log.Warn("cache not wiped", "err", err)
		return
	}
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
