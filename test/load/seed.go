package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/oceanchat/oceanchat/test/client"
)

const (
	platform       = "desktop"
	devicesPerUser = 10 // as many of one user may be on line
	parallel       = 4  // log-ins and connects at a time
)

// seedFlags make passwords cheap and tokens long-lived while users are made. The servers that are measured run with the
// defaults and never hash a password: connecting needs the token only.
var seedFlags = []string{"--auth-hash-memory", "64KiB", "--auth-hash-time", "1", "--auth-access-ttl", "2h"}

// device is a session of a user.
type device struct {
	id, token string
}

// account is a user with its devices.
type account struct {
	id      string
	devices []device
}

// rest returns a REST client of the account for the server at base.
func (a account) rest(base string) client.REST {
	return client.REST{Base: base, Token: a.devices[0].token, HTTP: goodHTTP}
}

// seeding says what was made before anything was measured.
type seeding struct {
	Users  int           `json:"users"`
	Logins int           `json:"logins"`
	Took   time.Duration `json:"tookNs"`
}

// seed fills dir: two users for each pair, and so many more that all together have idle devices.
func seed(ctx context.Context, binary, dir string, pairs, idle int) ([]account, seeding, error) {
	s, err := launch(ctx, binary, dir, seedFlags...)
	if err != nil {
		return nil, seeding{}, err
	}
	defer s.kill()
	accounts := make([]account, max(2*pairs, (idle+devicesPerUser-1)/devicesPerUser))
	begun := time.Now()
	err = inParallel(ctx, len(accounts), func(ctx context.Context, i int) error {
		devices := min(max(1, idle-i*devicesPerUser), devicesPerUser)
		var err error
		accounts[i], err = makeAccount(ctx, s.base, i, devices)
		return err
	})
	if err != nil {
		return nil, seeding{}, fmt.Errorf("make users: %w", err)
	}
	made := seeding{Users: len(accounts), Took: time.Since(begun)}
	for _, a := range accounts {
		made.Logins += len(a.devices)
	}
	return accounts, made, s.stop()
}

func makeAccount(ctx context.Context, base string, i, devices int) (account, error) {
	u := client.User{
		REST: client.REST{Base: base, HTTP: goodHTTP}, Username: fmt.Sprintf("load%d", i),
		Password: "load and nothing else", Platform: platform,
	}
	var made struct{ User struct{ UserID string } }
	err := u.Do(ctx, "POST", "/auth/register", client.Object{"username": u.Username, "password": u.Password, "nickname": u.Username}, &made)
	if err != nil {
		return account{}, fmt.Errorf("register %s: %w", u.Username, err)
	}
	a := account{id: made.User.UserID}
	for d := range devices {
		u.Device = fmt.Sprintf("device%d", d)
		if err := u.Login(ctx); err != nil {
			return account{}, fmt.Errorf("log %s in: %w", u.Username, err)
		}
		a.devices = append(a.devices, device{id: u.Device, token: u.Token})
	}
	return a, nil
}

// inParallel calls do for 0 to n-1, a few at a time, and returns the first error, after which it begins no more.
func inParallel(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(parallel, n) {
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
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
