package auth

import (
	"context"
	"errors"
	"fmt"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Register creates an account and has user make its profile.
//
// The account decides; the profile follows. Its event lies in the outbox from the same transaction on and carries the
// profile, and the relay makes the profile before it publishes the event. So a crash or an absent user service between
// the two heals by itself, and whoever hears of a new user can ask for it. A log-in that comes even earlier makes the
// profile with the username as nickname. Hence this answers with success as soon as the account is stored.
func (s *server) Register(ctx context.Context, r *authv1.RegisterRequest) (*authv1.RegisterResponse, error) {
	var b broken
	b.username(r.GetUsername())
	b.password("password", r.GetPassword())
	nickname := b.nickname(r.GetNickname())
	if err := b.err(); err != nil {
		return nil, err
	}
	if nickname == "" {
		nickname = r.GetUsername()
	}
	if err := s.checkFree(ctx, r.GetUsername()); err != nil {
		return nil, err
	}
	hash, err := s.hasher.hash(ctx, r.GetPassword())
	if err != nil {
		return nil, err
	}
	user := &userv1.User{UserId: chat.NewID(), Username: r.GetUsername(), Nickname: nickname}
	if err := s.createAccount(ctx, user, hash); err != nil {
		return nil, err
	}
	if err := s.createProfile(ctx, user); err != nil {
		s.log.WarnContext(ctx, "a profile could not be made and is retried", obs.UserID, user.GetUserId(), obs.Err, err)
	}
	s.changed()
	return &authv1.RegisterResponse{User: user}, nil
}

// checkFree spares the hash for a username that is taken; Create decides.
func (s *server) checkFree(ctx context.Context, username string) error {
	_, err := s.deps.Accounts.ByUsername(ctx, username)
	switch {
	case err == nil:
		return taken()
	case errors.Is(err, store.ErrNotFound):
		return nil
	}
	return fmt.Errorf("look for a username: %w", err)
}

func taken() error { return fault.New(fault.UsernameTaken, "this username is taken") }

func (s *server) createAccount(ctx context.Context, u *userv1.User, hash string) error {
	at := s.now()
	a := store.Account{UserID: chat.UserID(u.GetUserId()), Username: u.GetUsername(), PasswordHash: hash, CreatedAt: at}
	e, err := newEvent(registered, store.Session{UserID: a.UserID}, at, stored{Username: u.GetUsername(), Nickname: u.GetNickname()})
	if err != nil {
		return err
	}
	err = s.deps.Accounts.Create(ctx, a, e)
	if errors.Is(err, store.ErrExists) {
		return taken()
	}
	if err != nil {
		return fmt.Errorf("create an account: %w", err)
	}
	return nil
}

func (s *server) createProfile(ctx context.Context, u *userv1.User) error {
	_, err := s.deps.Users.CreateProfile(ctx, &userv1.CreateProfileRequest{User: u})
	return err
}

// profile returns a user, whose profile it makes if it is not there yet.
func (s *server) profile(ctx context.Context, id chat.UserID) (*userv1.User, error) {
	resp, err := s.deps.Users.GetProfiles(ctx, &userv1.GetProfilesRequest{UserIds: []string{string(id)}})
	if err != nil {
		return nil, fmt.Errorf("load profile of user %s: %w", id, err)
	}
	if us := resp.GetUsers(); len(us) > 0 {
		return us[0], nil
	}
	a, err := s.deps.Accounts.ByID(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("load account of user %s: %w", id, err)
	}
	u := &userv1.User{UserId: string(id), Username: a.Username, Nickname: a.Username}
	if err := s.createProfile(ctx, u); err != nil {
		return nil, fmt.Errorf("create profile of user %s: %w", id, err)
	}
	return u, nil
}

// ChangePassword sets a new password and ends every other session. Of two changes with the same old password one
// succeeds: the store replaces exactly the hash that was checked.
func (s *server) ChangePassword(ctx context.Context, r *authv1.ChangePasswordRequest) (*authv1.ChangePasswordResponse, error) {
	id, err := me(ctx)
	if err != nil {
		return nil, err
	}
	var b broken
	b.present("oldPassword", r.GetOldPassword())
	b.password("newPassword", r.GetNewPassword())
	if err := b.err(); err != nil {
		return nil, err
	}
	a, err := s.deps.Accounts.ByID(ctx, id.UserID)
	if err != nil {
		return nil, fmt.Errorf("load account of user %s: %w", id.UserID, err)
	}
	if err := s.checkPassword(ctx, a.Username, a.PasswordHash, r.GetOldPassword()); err != nil {
		return nil, err
	}
	hash, err := s.hasher.hash(ctx, r.GetNewPassword())
	if err != nil {
		return nil, err
	}
	own := store.Session{UserID: id.UserID, ID: id.SessionID, DeviceID: id.DeviceID, Platform: int32(id.Platform)}
	e, err := newEvent(passwordChanged, own, s.now(), stored{})
	if err != nil {
		return nil, err
	}
	err = s.deps.Accounts.SetPassword(ctx, id.UserID, a.PasswordHash, hash, e)
	if errors.Is(err, store.ErrConflict) {
		return nil, fault.New(fault.BadCredentials, "the password was changed at the same time")
	}
	if err != nil {
		return nil, fmt.Errorf("change password of user %s: %w", id.UserID, err)
	}
	// From here on the event in the outbox completes what fails: the relay ends the same sessions.
	defer s.changed()
	all := func(store.Session) bool { return true }
	if err := s.endOthers(ctx, id.UserID, id.SessionID, all); err != nil {
		s.log.WarnContext(ctx, "sessions could not be ended after a change of password; it is retried", obs.UserID, id.UserID, obs.Err, err)
	}
	return &authv1.ChangePasswordResponse{}, nil
}

// checkPassword returns nil, BAD_CREDENTIALS, RATE_LIMITED or OVERLOADED. hash is "" for an account that does not
// exist; it then takes as long.
func (s *server) checkPassword(ctx context.Context, username, hash, password string) error {
	a, err := s.guard.enter(ctx, username)
	if err != nil {
		return err
	}
	ok := false
	if validPassword(password) {
		if ok, err = s.hasher.verify(ctx, hash, password); err != nil {
			return err
		}
	}
	if !ok {
		return a.failed(ctx)
	}
	a.succeeded(ctx)
	return nil
}
