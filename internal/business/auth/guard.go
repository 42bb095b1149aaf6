package auth

import (
	"context"
	"strconv"
	"time"

	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// knownFor is how long a network counts as one that an account was logged in from.
const knownFor = 30 * 24 * time.Hour

// guard slows down guessing at one account without letting who guesses lock its owner out. Only wrong passwords count.
//
// Each network that guesses has a bucket of its own for each account: when it is empty, the account refuses every log-in
// from there, also one with the right password, until the next token would come. Who has many networks empties the
// account's bucket for all of them: then it refuses every network but those that it was logged in from lately, which
// is where its owner is. Sessions that are open are not touched.
//
// Refusals are entries of the cache, so that a log-in that goes well costs no token. If the cache forgets one early, the
// next wrong password brings it back; if it forgets a known network, the owner waits as others do. Accounts that do not
// exist are treated alike.
type guard struct {
	limits     faststate.Limits
	cache      faststate.Cache
	perMinute  int // of one network; 0: no limit
	everywhere int // of all networks; 0: no limit
	now        func() time.Time
}

// attempt is one try at one account.
type attempt struct {
	g        *guard
	username string
	here     bucket
	all      *bucket // nil: does not count
}

// A bucket is what wrong passwords are counted in.
type bucket struct {
	name      string
	perMinute int
	lease     faststate.Lease // to lock it with
}

// place returns from where ctx's caller tries: its session, or the network of who has none.
func place(ctx context.Context) string {
	if id := calls.IdentityOf(ctx); id.SessionID != "" {
		return "session/" + string(id.SessionID)
	}
	return calls.ClientOf(ctx)
}

// enter begins an attempt, or returns RATE_LIMITED. username must be valid: it becomes a key.
func (g *guard) enter(ctx context.Context, username string) (attempt, error) {
	a := attempt{g: g, username: username, here: bucket{name: username + "/" + place(ctx), perMinute: g.perMinute}}
	if g.perMinute <= 0 {
		return a, nil
	}
	if wait, err := g.locked(ctx, &a.here); err != nil || wait > 0 {
		return a, limited(wait, err)
	}
	if g.everywhere <= 0 || calls.IdentityOf(ctx).SessionID != "" { // one session is one place
		return a, nil
	}
	a.all = &bucket{name: username, perMinute: g.everywhere}
	wait, err := g.locked(ctx, a.all)
	if err != nil || wait == 0 {
		return a, limited(0, err)
	}
	if known, _, err := g.cache.Get(ctx, a.knownKey()); err != nil || known == nil {
		return a, limited(wait, err)
	}
	return a, nil
}

func (b *bucket) lockKey() string { return "auth:locked:" + b.name }

func (a attempt) knownKey() string { return "auth:known:" + a.here.name }

// locked returns for how long a bucket refuses, and notes the lease to lock it with.
func (g *guard) locked(ctx context.Context, b *bucket) (time.Duration, error) {
	val, lease, err := g.cache.Get(ctx, b.lockKey())
	if err != nil {
		return 0, err
	}
	b.lease = lease
	until, err := strconv.ParseInt(string(val), 10, 64)
	if err != nil {
		return 0, nil //nolint:nilerr // there is no such entry
	}
	return max(time.UnixMilli(until).Sub(g.now()), 0), nil
}

// failed counts a wrong password and returns what to answer.
func (a attempt) failed(ctx context.Context) error {
	bad := fault.New(fault.BadCredentials, "wrong username or password")
	if a.g.perMinute <= 0 {
		return bad
	}
	wait, err := a.g.count(ctx, a.here)
	if err == nil && wait == 0 && a.all != nil {
		wait, err = a.g.count(ctx, *a.all)
	}
	if err != nil || wait > 0 {
		return limited(wait, err)
	}
	return bad
}

// count takes a token and returns 0, or locks the bucket and returns for how long.
func (g *guard) count(ctx context.Context, b bucket) (time.Duration, error) {
	ok, wait, err := g.limits.Take(ctx, "auth:failed:"+b.name, float64(b.perMinute)/60, b.perMinute)
	if err != nil || ok {
		return 0, err
	}
	until := strconv.FormatInt(g.now().Add(wait).UnixMilli(), 10)
	return wait, g.cache.Fill(ctx, b.lockKey(), b.lease, []byte(until), wait)
}

// succeeded remembers from where the right password came.
func (a attempt) succeeded(ctx context.Context) {
	if a.all == nil {
		return
	}
	if known, lease, err := a.g.cache.Get(ctx, a.knownKey()); err == nil && known == nil {
		_ = a.g.cache.Fill(ctx, a.knownKey(), lease, []byte("1"), knownFor) // without it the network is not known
	}
}

// limited returns what to answer for a wait, or for a fast state that does not tell, or nil.
func limited(wait time.Duration, err error) error {
	switch {
	case err != nil:
		return storeDown(err)
	case wait > 0:
		return fault.New(fault.RateLimited, "too many wrong passwords for this account").After(wait)
	}
	return nil
}

func storeDown(err error) error {
	return fault.Wrap(err, fault.SessionStoreDown, "the fast state does not answer").After(time.Second)
}
