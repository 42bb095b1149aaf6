package oceanchat

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// Phase is where a client stands between its start and its end.
type Phase string

// The phases, in the order in which a connection goes through them.
const (
	Idle       Phase = "idle"       // not started
	Connecting Phase = "connecting" // getting a token, dialing
	Syncing    Phase = "syncing"    // connected, reading what was missed
	Online     Phase = "online"     // in sync; the outbox is being sent
	Waiting    Phase = "waiting"    // for State.RetryAt
	Closed     Phase = "closed"     // for State.Reason; it does not connect again by itself
)

// Reason says why a client is closed.
type Reason string

// The reasons.
const (
	Stopped         Reason = "stopped"         // Close was called, or the context ended
	SessionEnded    Reason = "sessionEnded"    // the session was revoked: log in again
	Replaced        Reason = "replaced"        // the same device connected elsewhere, or an eleventh device did
	ProtocolError   Reason = "protocolError"   // the server found a fault in this client
	Unauthenticated Reason = "unauthenticated" // password or tokens are not accepted
	Refused         Reason = "refused"         // the server does not want the client back, or closed it three times for an unknown cause
	WrongUser       Reason = "wrongUser"       // the Store belongs to another user than the one who is to log in
)

// State is where a client stands.
type State struct {
	Phase   Phase
	RetryAt time.Time // of Waiting
	Reason  Reason    // of Closed
	Err     error     // what ended the last connection or attempt, of Waiting and Closed; may be nil
}

// ClosedError is what calls answer once a client is closed.
type ClosedError struct {
	Reason Reason
	Err    error // the cause; may be nil
}

// Error names reason and cause.
func (e *ClosedError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("oceanchat: closed (%s): %v", e.Reason, e.Err)
	}
	return fmt.Sprintf("oceanchat: closed (%s)", e.Reason)
}

// Unwrap returns the cause.
func (e *ClosedError) Unwrap() error { return e.Err }

// State returns where the client stands.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// States yields the client's state and then every later one, until ctx ends or the client is closed, which is the last
// one yielded. A slow loop sees the newest state and may miss those between.
func (c *Client) States(ctx context.Context) iter.Seq[State] {
	return func(yield func(State) bool) {
		for {
			c.mu.Lock()
			st, changed := c.state, c.changed
			c.mu.Unlock()
			if !yield(st) || st.Phase == Closed {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// setState also wakes whoever waits for a change.
func (c *Client) setState(st State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setStateLocked(st)
}

func (c *Client) setStateLocked(st State) {
	if c.state.Phase == Closed {
		return
	}
	c.state = st
	close(c.changed)
	c.changed = make(chan struct{})
}

// Ready waits until the client is online. It returns a *ClosedError once the client is closed, and the context's error
// together with the last attempt's.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.online(ctx, true)
	return err
}

// online waits for a session in sync.
func (c *Client) online(ctx context.Context, alsoIdle bool) (*session, error) {
	for {
		c.mu.Lock()
		st, s, changed := c.state, c.session, c.changed
		c.mu.Unlock()
		switch {
		case st.Phase == Online:
			return s, nil
		case st.Phase == Closed:
			return nil, &ClosedError{st.Reason, st.Err}
		case st.Phase == Idle && !alsoIdle:
			return nil, ErrNotStarted
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if st.Err != nil {
				return nil, fmt.Errorf("oceanchat: not online: %w (last attempt: %w)", ctx.Err(), st.Err)
			}
			return nil, fmt.Errorf("oceanchat: not online: %w", ctx.Err())
		}
	}
}
