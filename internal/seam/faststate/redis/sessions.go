package redis

import (
	"context"
	"fmt"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

const (
	allowedMark = "a"
	deniedMark  = "d"
)

// allowScript puts a session on the list unless it was denied. KEYS: the session. ARGV: time to live.
var allowScript = newScript(`
if redis.call('GET', KEYS[1]) == '` + deniedMark + `' then return 0 end
redis.call('SET', KEYS[1], '` + allowedMark + `', 'PX', ARGV[1])
return 1
`)

// Sessions implements faststate.Sessions with one key per session, which lapses with it. Its errors are
// SESSION_STORE_DOWN: without Redis nobody is let in, as a session that ended may be among them.
type Sessions struct{ c *Client }

var _ faststate.Sessions = (*Sessions)(nil)

// Sessions returns the allow-list that all clients with the same prefix share.
func (c *Client) Sessions() *Sessions { return &Sessions{c} }

func sessionsDown(what string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("redis: %s: %w", what, err)
	return fault.Wrap(err, fault.SessionStoreDown, "sessions cannot be checked now").After(retryAfter)
}

// Allow implements faststate.Sessions. What has expired is not put on the list.
func (s *Sessions) Allow(ctx context.Context, sessions []faststate.Session) error {
	now := s.c.now()
	var calls []*call
	for _, x := range sessions {
		if ttl := x.Expires.Sub(now); ttl > 0 {
			calls = append(calls, &call{s: allowScript, keys: []string{s.c.session(x.ID)}, args: []any{ms(ttl)}})
		}
	}
	return sessionsDown("allow sessions", s.c.inBatches(ctx, calls))
}

// Deny implements faststate.Sessions.
func (s *Sessions) Deny(ctx context.Context, ids []chat.SessionID) error {
	calls := make([]*call, len(ids))
	for i, id := range ids {
		calls[i] = command("SET", s.c.session(id), deniedMark, "PX", ms(s.c.cfg.DeniedFor))
	}
	return sessionsDown("deny sessions", s.c.inBatches(ctx, calls))
}

// Check implements faststate.Sessions.
func (s *Sessions) Check(ctx context.Context, ids []chat.SessionID) ([]faststate.SessionState, error) {
	calls := make([]*call, len(ids))
	for i, id := range ids {
		calls[i] = command("GET", s.c.session(id))
	}
	if err := s.c.inBatches(ctx, calls); err != nil {
		return nil, sessionsDown("check sessions", err)
	}
	states := make([]faststate.SessionState, len(ids))
	for i, k := range calls {
		switch k.reply() {
		case allowedMark:
			states[i] = faststate.Allowed
		case deniedMark:
			states[i] = faststate.Denied
		}
	}
	return states, nil
}
