package redis

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts so
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// serverTime is the beginning of every script: now is the server's time in microseconds.
const serverTime = `
local function now() local t = redis.call('TIME'); return t[1] * 1000000 + t[2] end
`

// script runs inside Redis, atomically.
type script struct{ body, source, sha string }

func newScript(parts ...string) *script {
	s := &script{}
	for _, p := range parts {
		s.body += p
	}
	s.source, s.sha = withSum(serverTime + s.body)
	return s
}

func withSum(source string) (string, string) {
	sum := sha1.Sum([]byte(source)) //nolint:gosec // as above
	return source, hex.EncodeToString(sum[:])
}

// text returns what s is on the server, and its name there. In a test that has its own clock each time is another text.
func (c *Client) text(s *script) (source, sha string) {
	if c.frozen {
		return withSum(fmt.Sprintf("local function now() return %d end\n", c.now().UnixMicro()) + s.body)
	}
	return s.source, s.sha
}

// once is a command that the driver must not repeat when its answer was lost; a redirection in a Cluster is followed.
type once struct{ *redis.Cmd }

// NoRetry is asked by the driver.
func (once) NoRetry() bool { return true }

// call is one command or script of a batch.
type call struct {
	s    *script // nil: a plain command
	keys []string
	args []any

	cmd once // afterwards
}

// command returns a call of a plain command, whose first argument is its one key, or all of them are keys of one tag.
func command(args ...any) *call { return &call{args: args} }

func (c *call) reply() any { return c.cmd.Val() }

// run sends all calls in one round trip per server and waits for the answers. Scripts that a server does not know are
// sent to it in full. It returns the first error; that a key is not there is none. Calls of one slot are executed in
// their order, unless a server knew the script of only some: so a batch has no two calls that must keep an order.
func (c *Client) run(ctx context.Context, calls ...*call) error {
	if len(calls) == 0 {
		return nil
	}
	ctx, cancel := c.within(ctx)
	defer cancel()
	failed := c.exec(ctx, calls, false)
	if failed == nil {
		return nil
	}
	var unknown []*call
	for _, k := range calls {
		switch err := k.cmd.Err(); {
		case err == nil, errors.Is(err, redis.Nil):
		case k.s != nil && redis.HasErrorPrefix(err, "NOSCRIPT"):
			unknown = append(unknown, k)
		default:
			return err
		}
	}
	if len(unknown) > 0 {
		failed = c.exec(ctx, unknown, true)
	}
	if errors.Is(failed, redis.Nil) {
		return nil
	}
	return failed
}

// exec sends calls, scripts by their name or in full.
func (c *Client) exec(ctx context.Context, calls []*call, full bool) error {
	if len(calls) == 1 {
		calls[0].cmd = once{redis.NewCmd(ctx, c.line(calls[0], full)...)}
		return c.db.Process(ctx, calls[0].cmd)
	}
	pipe := c.db.Pipeline()
	for _, k := range calls {
		k.cmd = once{redis.NewCmd(ctx, c.line(k, full)...)}
		if err := pipe.Process(ctx, k.cmd); err != nil {
			return err
		}
	}
	_, err := pipe.Exec(ctx)
	return err
}

// line is the command as it is sent.
func (c *Client) line(k *call, full bool) []any {
	if k.s == nil {
		return k.args
	}
	line := make([]any, 0, 3+len(k.keys)+len(k.args))
	if source, sha := c.text(k.s); full {
		line = append(line, "EVAL", source)
	} else {
		line = append(line, "EVALSHA", sha)
	}
	line = append(line, len(k.keys))
	for _, key := range k.keys {
		line = append(line, key)
	}
	return append(line, k.args...)
}

// pipelineBatch bounds how many commands go in one round trip.
const pipelineBatch = 1000

// inBatches runs calls, a bounded number at a time.
func (c *Client) inBatches(ctx context.Context, calls []*call) error {
	for len(calls) > 0 {
		k := min(pipelineBatch, len(calls))
		if err := c.run(ctx, calls[:k]...); err != nil {
			return err
		}
		calls = calls[k:]
	}
	return nil
}
