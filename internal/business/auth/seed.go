package auth

import (
	"context"
	"fmt"
	"sync"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// seedWriters is how many accounts of a Seed are made at a time. The store commits what waits together, so that about
// as many share one transaction.
const seedWriters = 256

// SeedUser is an account that Seed makes, with one session from one device.
type SeedUser struct {
	Username string
	DeviceID string
	Platform authv1.Platform
}

// Seed makes accounts that all have one password, and opens a session for each; the answers stand in the order of users.
// It is for development: the password is hashed once and all accounts hold that very hash, so whoever reads the database
// sees that they share it. Names, password and devices obey the same rules as everybody's, and the same events are stored.
// A name that is taken is USERNAME_TAKEN and ends it; what was made before stays.
//
// No network serves this: only a process that holds the data itself, the directory or the keys to the database, can call it.
func (s *Service) Seed(ctx context.Context, password string, users []SeedUser) ([]*authv1.TokenResponse, error) {
	if err := checkSeed(password, users); err != nil {
		return nil, err
	}
	keys, err := s.server.keys.get(ctx)
	if err != nil {
		return nil, err
	}
	hash, err := s.server.hasher.hash(ctx, password)
	if err != nil {
		return nil, err
	}
	out := make([]*authv1.TokenResponse, len(users))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(seedWriters, len(users)) {
		wg.Go(func() {
			for i := range next {
				if ctx.Err() != nil {
					continue
				}
				var err error
				if out[i], err = s.server.seed(ctx, keys, hash, users[i]); err != nil {
					cancel(fmt.Errorf("user %s: %w", users[i].Username, err))
				}
			}
		})
	}
	for i := range users {
		next <- i
	}
	close(next)
	wg.Wait()
	s.server.changed()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return out, nil
}

// checkSeed names the first user that breaks a rule.
func checkSeed(password string, users []SeedUser) error {
	var b broken
	b.password("password", password)
	for _, u := range users {
		b.username(u.Username)
		b.id("deviceId", u.DeviceID)
		b.platform(u.Platform)
		if err := b.err(); err != nil {
			return fmt.Errorf("user %s: %w", u.Username, err)
		}
	}
	return b.err()
}

// seed makes one account, its profile and its session.
func (s *server) seed(ctx context.Context, keys *keys, hash string, u SeedUser) (*authv1.TokenResponse, error) {
	user := &userv1.User{UserId: chat.NewID(), Username: u.Username, Nickname: u.Username}
	if err := s.createAccount(ctx, user, hash); err != nil {
		return nil, err
	}
	if err := s.createProfile(ctx, user); err != nil {
		return nil, fmt.Errorf("create the profile: %w", err)
	}
	at := s.now()
	session := store.Session{
		ID: chat.SessionID(chat.NewID()), UserID: chat.UserID(user.GetUserId()), DeviceID: chat.DeviceID(u.DeviceID),
		Platform: int32(u.Platform), CreatedAt: at, RefreshedAt: at, ExpiresAt: at.Add(s.cfg.RefreshTTL),
	}
	e, err := newEvent(loggedIn, session, at, stored{})
	if err != nil {
		return nil, err
	}
	if _, err := s.deps.Sessions.Start(ctx, session, e); err != nil { // nobody else has the account yet
		return nil, fmt.Errorf("start a session: %w", err)
	}
	s.allow(ctx, session)
	resp, err := keys.pair(session, at)
	if err != nil {
		return nil, err
	}
	resp.User = user
	return resp, nil
}
