package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
)

const (
	maxAccounts = 1_000_000
	// tokenLeft is how long an access token must be valid still when a scenario begins: it is needed for connecting and
	// for reading the log at the end.
	tokenLeft    = 3 * time.Minute
	refreshTries = 20
	parallel     = 4 // refreshes, and reads of the log
)

// account is a session of a user, a line of the file that "oceanchat dev seed" writes.
type account struct {
	UserID       string `json:"userId"`
	Username     string `json:"username"`
	AccessToken  string `json:"accessToken"`
	RefreshToken string `json:"refreshToken"`
	DeviceID     string `json:"deviceId"`
	Platform     string `json:"platform"`
}

// accounts is the file.
type accounts struct {
	path string
	all  []account
}

func readAccounts(path string) (*accounts, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	defer func() { _ = f.Close() }()
	a := &accounts{path: path}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var one account
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		if one.UserID == "" || one.DeviceID == "" || one.AccessToken == "" {
			return nil, fmt.Errorf("%s:%d: userId, deviceId or accessToken is missing", path, n)
		}
		if a.all = append(a.all, one); len(a.all) > maxAccounts {
			return nil, fmt.Errorf("%s: more than %d accounts", path, maxAccounts)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return a, nil
}

// enough fails if there are fewer than n, or one user twice among the first n: they would disconnect each other.
func (a *accounts) enough(n int) error {
	if len(a.all) < n {
		return fmt.Errorf("%s has %d accounts; the scenarios need %d", a.path, len(a.all), n)
	}
	seen := make(map[string]bool, n)
	for _, one := range a.all[:n] {
		if seen[one.UserID] {
			return fmt.Errorf("%s names user %s twice", a.path, one.UserID)
		}
		seen[one.UserID] = true
	}
	return nil
}

// refresh renews those of the first n sessions whose access token ends soon, as any client has to, and writes the file
// again: a refresh token works once.
func (a *accounts) refresh(ctx context.Context, at doors, n int, p *progress) error {
	var old []int
	for i, one := range a.all[:n] {
		if ends, ok := expiry(one.AccessToken); ok && time.Until(ends) < tokenLeft {
			old = append(old, i)
		}
	}
	if len(old) == 0 {
		return nil
	}
	p.say("refreshing %d sessions", len(old))
	var mu sync.Mutex // guards all
	err := inParallel(ctx, parallel, len(old), func(ctx context.Context, i int) error {
		mu.Lock()
		one := a.all[old[i]]
		mu.Unlock()
		fresh, err := refreshOne(ctx, oceanchat.REST{URL: at.rest(i), HTTP: goodHTTP}, one.RefreshToken)
		if err != nil {
			return fmt.Errorf("%s: %w", one.Username, err)
		}
		mu.Lock()
		defer mu.Unlock()
		a.all[old[i]].AccessToken, a.all[old[i]].RefreshToken = fresh.AccessToken, fresh.RefreshToken
		return nil
	})
	return errors.Join(err, a.write())
}

// refreshOne obeys the server's limit: without a valid token it counts by address.
func refreshOne(ctx context.Context, rest oceanchat.REST, token string) (oceanchat.Session, error) {
	for try := 1; ; try++ {
		fresh, err := rest.Refresh(ctx, token)
		var e *oceanchat.Error
		if err == nil || !errors.As(err, &e) || e.Reason != "RATE_LIMITED" || try == refreshTries {
			return fresh, err
		}
		if err := pause(ctx, max(e.RetryAfter, 100*time.Millisecond)); err != nil {
			return fresh, err
		}
	}
}

// write replaces the file at once, so that nobody finds half of it.
func (a *accounts) write() error {
	f, err := os.CreateTemp(filepath.Dir(a.path), filepath.Base(a.path)+".*")
	if err != nil {
		return fmt.Errorf("write the refreshed sessions: %w", err)
	}
	w := bufio.NewWriter(f)
	e := json.NewEncoder(w)
	for _, one := range a.all {
		err = errors.Join(err, e.Encode(one)) //nolint:gosec // sessions are what the file is for
	}
	if err = errors.Join(err, w.Flush(), f.Close()); err == nil {
		err = os.Rename(f.Name(), a.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write the refreshed sessions: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// expiry returns when an access token ends; false if it does not say.
func expiry(token string) (time.Time, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, false
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct{ Exp int64 }
	if err != nil || json.Unmarshal(data, &claims) != nil || claims.Exp == 0 {
		return time.Time{}, false
	}
	return time.Unix(claims.Exp, 0), true
}

// inParallel calls do for 0 to n-1, some at a time, and returns the first error, after which it begins no more.
func inParallel(ctx context.Context, some, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(some, n) {
		wg.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// pause waits d or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
