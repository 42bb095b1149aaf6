package redis

import (
	"context"
	"strconv"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// takeScript takes a token. A bucket is the time when it will be full again (the generic cell rate algorithm), in
// microseconds; without a key it is full. KEYS: the bucket. ARGV: microseconds per token, those of a whole bucket. It
// returns 0, or the microseconds until the next token.
var takeScript = newScript(`
local at, per = now(), tonumber(ARGV[1])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), at) + per
local wait = full - at - tonumber(ARGV[2])
if wait > 0 then return math.ceil(wait) end
redis.call('SET', KEYS[1], string.format('%.17g', full), 'PX', string.format('%.0f', math.ceil((full - at) / 1000)))
return 0
`)

// Limits implements faststate.Limits. Each bucket is counted in one place, by the server's clock, so a limit is the
// same over any number of instances. A bucket that is full again lapses.
type Limits struct{ c *Client }

var _ faststate.Limits = (*Limits)(nil)

// Limits returns the limits that all clients with the same prefix share.
func (c *Client) Limits() *Limits { return &Limits{c} }

const (
	maxInterval = float64(24*time.Hour) / float64(time.Microsecond)
	maxCapacity = float64(365*24*time.Hour) / float64(time.Microsecond)
)

// Take implements faststate.Limits.
func (l *Limits) Take(ctx context.Context, key string, rate float64, burst int) (bool, time.Duration, error) {
	if rate <= 0 {
		return true, 0, nil
	}
	per := min(1e6/rate, maxInterval)
	capacity := max(min(per*float64(burst), maxCapacity), per)
	k := &call{s: takeScript, keys: []string{l.c.bucket(key)}, args: []any{number(per), number(capacity)}}
	if err := l.c.run(ctx, k); err != nil {
		return false, 0, down("take a token", err)
	}
	wait, _ := k.reply().(int64)
	return wait == 0, time.Duration(wait) * time.Microsecond, nil
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
