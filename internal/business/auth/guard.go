package auth

import (
	"context"
	"strconv"
	"time"

	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// guard slows down guessing at one account. Only wrong passwords count: when their bucket is empty, the account refuses
// every log-in, also one with the right password, until the next token would come; sessions that are open are not
// touched. The refusal is an entry of the cache, so that a log-in that goes well costs no token. If the cache forgets it
// early, the next wrong password brings it back. Accounts that do not exist are treated alike.
type guard struct {
	limits    faststate.Limits
	cache     faststate.Cache
	perMinute int
	now       func() time.Time
}

// attempt is one try at one account.
type attempt struct {
	g        *guard
	username string
	lease    faststate.Lease
}

func lockKey(username string) string { return "auth:locked:" + username }

// enter begins an attempt, or returns RATE_LIMITED. username must be valid: it becomes a key.
func (g *guard) enter(ctx context.Context, username string) (attempt, error) {
	a := attempt{g: g, username: username}
	if g.perMinute <= 0 {
		return a, nil
	}
	val, lease, err := g.cache.Get(ctx, lockKey(username))
	if err != nil {
		return a, storeDown(err)
	}
	a.lease = lease
	if until, err := strconv.ParseInt(string(val), 10, 64); err == nil {
		if wait := time.UnixMilli(until).Sub(g.now()); wait > 0 {
			return a, limited(wait)
		}
	}
	return a, nil
}

// failed counts a wrong password and returns what to answer.
func (a attempt) failed(ctx context.Context) error {
	bad := fault.New(fault.BadCredentials, "wrong username or password")
	g := a.g
	if g.perMinute <= 0 {
		return bad
	}
	ok, wait, err := g.limits.Take(ctx, "auth:failed:"+a.username, float64(g.perMinute)/60, g.perMinute)
	if err != nil {
		return storeDown(err)
	}
	if ok {
		return bad
	}
	until := strconv.FormatInt(g.now().Add(wait).UnixMilli(), 10)
	if err := g.cache.Fill(ctx, lockKey(a.username), a.lease, []byte(until), wait); err != nil {
		return storeDown(err)
	}
	return limited(wait)
}

func limited(wait time.Duration) error {
	return fault.New(fault.RateLimited, "too many wrong passwords for this account").After(wait)
}

func storeDown(err error) error {
	return fault.Wrap(err, fault.SessionStoreDown, "the fast state does not answer").After(time.Second)
}
