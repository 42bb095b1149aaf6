package oceanchat

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oceanchat/oceanchat/sdk/go/store"
)

// earlyRefresh is how long before its end an access token is not used any more.
const earlyRefresh = 10 * time.Second

var errNoTokens = &Error{Code: "UNAUTHENTICATED", Reason: "TOKEN_MISSING", Message: "no token can be had any more"}

// judgeToken is judge for what getting a token failed with. Nothing is wiped: the application may have another way in.
func judgeToken(err error) verdict {
	var e *Error
	switch {
	case !errors.As(err, &e):
		return verdict{}
	case e.Reason == "SESSION_ENDED" || e.Reason == "REFRESH_REUSED":
		return verdict{closed: SessionEnded, wipe: true}
	case e.Code == "UNAUTHENTICATED" || e.definite():
		return verdict{closed: Unauthenticated}
	}
	return verdict{floor: e.RetryAfter}
}

// AccessToken returns a token for REST calls of the application's own, refreshing it when it has expired. Pass the one
// that the server refused, or "".
func (c *Client) AccessToken(ctx context.Context, refused string) (string, error) {
	if err := c.load(ctx); err != nil {
		return "", err
	}
	return c.token(ctx, refused)
}

// token returns an access token that is not refused: the one at hand, or one by refreshing, or by logging in. One
// caller at a time does so; the others find its result.
func (c *Client) token(ctx context.Context, refused string) (string, error) {
	select {
	case c.keys <- struct{}{}:
		defer func() { <-c.keys }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if c.opts.Tokens != nil {
		return c.opts.Tokens.Token(ctx, refused)
	}
	t, moved := c.tokens()
	if t.Access != "" && t.Access != refused && (t.Expires.IsZero() || time.Until(t.Expires) > earlyRefresh) {
		return t.Access, nil
	}
	if t.Refresh != "" {
		fresh, err := c.rest.Refresh(ctx, t.Refresh)
		if err == nil {
			return c.adopt(fresh, t.Origin, false)
		}
		var e *Error
		if !errors.As(err, &e) || e.Code != "UNAUTHENTICATED" || !c.mayLogIn() {
			return "", err
		}
		c.log.Info("stored session is over, logging in", "reason", e.Reason)
	}
	switch {
	case c.mayLogIn():
	case moved != "":
		return "", &ClosedError{Unauthenticated, fmt.Errorf("the session in the Store is of DeviceID %s, not of %s, and there is no Password to make another one",
			moved, c.opts.DeviceID)}
	default:
		return "", errNoTokens
	}
	return c.logIn(ctx)
}

// logIn makes a session, unless it would be one of another user than the store's.
func (c *Client) logIn(ctx context.Context) (string, error) {
	fresh, err := c.rest.Login(ctx, c.opts.Username, c.opts.Password, c.opts.DeviceID, c.opts.Platform)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	c.loggedIn = true
	owner := c.meta.UserID
	c.mu.Unlock()
	if owner != "" && fresh.UserID != "" && fresh.UserID != owner {
		return "", &ClosedError{WrongUser, fmt.Errorf("the Store belongs to the user with the id %s, not to %s", owner, c.opts.Username)}
	}
	return c.adopt(fresh, "", true)
}

// mayLogIn allows the password once after each start, so that two clients of one device end each other once at most.
func (c *Client) mayLogIn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opts.Password != "" && !c.loggedIn
}

// tokens returns what the store has, or the application's Session where that is a newer log-in. A session is of one
// device: with another DeviceID that of the store is of no use, and moved says whose it is.
func (c *Client) tokens() (t store.Tokens, moved string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t = c.meta.Tokens
	if s := c.opts.Session; s != nil && (t == store.Tokens{} || t.Origin != s.RefreshToken) {
		return store.Tokens{Access: s.AccessToken, Refresh: s.RefreshToken, Origin: s.RefreshToken}, ""
	}
	if of := c.meta.DeviceID; of != "" && of != c.opts.DeviceID && t != (store.Tokens{}) {
		return store.Tokens{}, of
	}
	return t, ""
}

// dropTokens forgets a session that the server does not take.
func (c *Client) dropTokens() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.meta
	m.Tokens, m.DeviceID = store.Tokens{}, ""
	return c.commit(store.Batch{Meta: &m})
}

// adopt stores tokens before anyone uses them: a refresh token works once. loggedIn says that they are of a log-in that
// was made with the options' name.
func (c *Client) adopt(s Session, origin string, loggedIn bool) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.meta
	m.Tokens = store.Tokens{Access: s.AccessToken, Refresh: s.RefreshToken, Origin: origin}
	if loggedIn {
		m.Username = strings.ToLower(c.opts.Username)
	}
	if loggedIn || origin != "" {
		m.DeviceID = c.opts.DeviceID
	}
	if s.ExpiresIn > 0 {
		m.Tokens.Expires = time.Now().Add(s.ExpiresIn).Round(0) // of the wall clock: the machine may sleep
	}
	return s.AccessToken, c.commit(store.Batch{Meta: &m})
}
