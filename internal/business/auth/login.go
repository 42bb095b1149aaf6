package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Login opens a session for a device; an older session of the same user and device ends. An unknown user, a wrong
// password and a name that nobody can have are answered alike.
func (s *server) Login(ctx context.Context, r *authv1.LoginRequest) (*authv1.TokenResponse, error) {
	resp, err := s.login(ctx, r)
	switch {
	case err == nil:
		s.metrics.logins.WithLabelValues(resultOK).Inc()
	case fault.IsReason(err, fault.BadCredentials):
		s.metrics.logins.WithLabelValues(resultBad).Inc()
	case fault.IsReason(err, fault.RateLimited), fault.IsReason(err, fault.Overloaded):
		s.metrics.logins.WithLabelValues(resultLimited).Inc()
	}
	return resp, err
}

func (s *server) login(ctx context.Context, r *authv1.LoginRequest) (*authv1.TokenResponse, error) {
	var b broken
	b.present("username", r.GetUsername())
	b.present("password", r.GetPassword())
	b.id("deviceId", r.GetDeviceId())
	b.platform(r.GetPlatform())
	if err := b.err(); err != nil {
		return nil, err
	}
	a, err := s.authenticate(ctx, r.GetUsername(), r.GetPassword())
	if err != nil {
		return nil, err
	}
	keys, err := s.keys.get(ctx)
	if err != nil {
		return nil, err
	}
	user, err := s.profile(ctx, a.UserID) // before the session: what fails here leaves nothing behind
	if err != nil {
		return nil, err
	}
	session, err := s.start(ctx, a, chat.DeviceID(r.GetDeviceId()), r.GetPlatform())
	if err != nil {
		return nil, err
	}
	resp, err := keys.pair(session, session.RefreshedAt)
	if err != nil {
		return nil, err
	}
	resp.User = user
	return resp, nil
}

// authenticate returns the account that has this password.
func (s *server) authenticate(ctx context.Context, username, password string) (store.Account, error) {
	if !validUsername(username) {
		return store.Account{}, fault.New(fault.BadCredentials, "wrong username or password")
	}
	a, err := s.deps.Accounts.ByUsername(ctx, username)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return a, fmt.Errorf("load account: %w", err)
	}
	return a, s.checkPassword(ctx, username, a.PasswordHash, password)
}

// start opens a session of a device, ends those that it replaces, and looks once more whether the password still is
// what was checked: a change that came in between has either seen the new session and ended it, or is seen here.
func (s *server) start(ctx context.Context, a store.Account, device chat.DeviceID, platform authv1.Platform) (store.Session, error) {
	at := s.now()
	session := store.Session{
		ID: chat.SessionID(chat.NewID()), UserID: a.UserID, DeviceID: device, Platform: int32(platform),
		CreatedAt: at, RefreshedAt: at, ExpiresAt: at.Add(s.cfg.RefreshTTL),
	}
	e, err := newEvent(loggedIn, session, at, stored{})
	if err != nil {
		return session, err
	}
	// The older session ends first, with an event of its own; a crash in between only asks for another log-in.
	if err := s.makeRoom(ctx, a.UserID, device); err != nil {
		return session, err
	}
	defer s.changed()
	raced, err := s.deps.Sessions.Start(ctx, session, e)
	if err != nil {
		return session, fmt.Errorf("start a session of user %s: %w", a.UserID, err)
	}
	// Only log-ins of the same device at the same moment come here; the store has ended them without an event.
	s.tellOrWarn(ctx, idsOf(raced))
	now, err := s.deps.Accounts.ByID(ctx, a.UserID)
	if err != nil {
		return session, fmt.Errorf("load account of user %s: %w", a.UserID, err)
	}
	if now.PasswordHash != a.PasswordHash {
		if _, err := s.end(ctx, a.UserID, []store.Session{session}); err != nil {
			return session, err
		}
		return session, fault.New(fault.BadCredentials, "wrong username or password")
	}
	s.allow(ctx, session)
	return session, nil
}

// makeRoom ends the sessions that a new one of device replaces, and the oldest ones beyond the limit.
func (s *server) makeRoom(ctx context.Context, u chat.UserID, device chat.DeviceID) error {
	open, err := s.deps.Sessions.OfUser(ctx, u)
	if err != nil {
		return fmt.Errorf("load sessions of user %s: %w", u, err)
	}
	var over []store.Session
	others := 0
	for _, o := range open { // newest first
		if o.DeviceID != device {
			others++
		}
		if o.DeviceID == device || others >= s.cfg.MaxSessions {
			over = append(over, o)
		}
	}
	slices.Reverse(over)
	_, err = s.end(ctx, u, over)
	return err
}
