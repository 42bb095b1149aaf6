package auth_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/business/auth"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// Invariant 8: each broken rule is named, all at once.
func TestInvalidFields(t *testing.T) {
	w := newWorld(t)
	w.register("ann")
	ann := w.login("ann", "d1")
	long := func(n int) string { return strings.Repeat("ä", n) }
	register := func(username, password, nickname string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := w.pub.Register(ctx, &authv1.RegisterRequest{Username: username, Password: password, Nickname: nickname})
			return err
		}
	}
	login := func(r *authv1.LoginRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := w.pub.Login(ctx, r); return err }
	}
	list := func(size int32, token string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := w.pub.ListSessions(ctx, &authv1.ListSessionsRequest{PageSize: &size, PageToken: token})
			return err
		}
	}
	tests := []struct {
		name string
		call func(context.Context) error
		want string
	}{
		{"register nothing", register("", "", ""), "username password"},
		{"register all wrong", register("Ann", long(129), long(65)), "username password nickname"},
		{"username too short", register("ab", password, ""), "username"},
		{"username too long", register(strings.Repeat("a", 33), password, ""), "username"},
		{"username with a blank", register("an n", password, ""), "username"},
		{"username with a hyphen", register("an-n", password, ""), "username"},
		{"username in another script", register("änn", password, ""), "username"},
		{"password too short", register("bob", long(7), ""), "password"},
		{"nickname with a line end", register("bob", password, "a\nb"), "nickname"},
		{"login with nothing", login(&authv1.LoginRequest{}), "username password deviceId platform"},
		{"device with a blank", login(&authv1.LoginRequest{Username: "ann", Password: password, DeviceId: "a b", Platform: 1}), "deviceId"},
		{"unknown platform", login(&authv1.LoginRequest{Username: "ann", Password: password, DeviceId: "d1", Platform: 99}), "platform"},
		{"new password too short", func(ctx context.Context) error {
			_, err := w.pub.ChangePassword(ctx, &authv1.ChangePasswordRequest{NewPassword: "short"})
			return err
		}, "oldPassword newPassword"},
		{"revoke a bad id", func(ctx context.Context) error {
			_, err := w.pub.RevokeSession(ctx, &authv1.RevokeSessionRequest{SessionId: "a/b"})
			return err
		}, "sessionId"},
		{"page of none", list(0, ""), "pageSize"},
		{"page of less", list(-5, "%%"), "pageSize pageToken"},
		{"forged token", list(1, "YWJj"), "pageToken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.call(w.as(ann))
			wantReason(t, tt.name, err, fault.InvalidFieldReason)
			var got []string
			for _, f := range fault.Of(err).Fields {
				got = append(got, f.Field)
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("fields = %q; want %q", s, tt.want)
			}
		})
	}
}

func TestMethodsNeedASession(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		name string
		call func(context.Context) error
	}{
		{"logout", func(ctx context.Context) error { _, err := w.pub.Logout(ctx, &authv1.LogoutRequest{}); return err }},
		{"changePassword", func(ctx context.Context) error {
			_, err := w.pub.ChangePassword(ctx, &authv1.ChangePasswordRequest{})
			return err
		}},
		{"listSessions", func(ctx context.Context) error {
			_, err := w.pub.ListSessions(ctx, &authv1.ListSessionsRequest{})
			return err
		}},
		{"revokeSession", func(ctx context.Context) error {
			_, err := w.pub.RevokeSession(ctx, &authv1.RevokeSessionRequest{SessionId: "x"})
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantReason(t, "as nobody", tt.call(t.Context()), fault.TokenMissing)
			wantReason(t, "as a user without a session", tt.call(calls.WithIdentity(t.Context(), calls.Identity{UserID: "u"})), fault.TokenMissing)
		})
	}
}

// AUTH-1, AUTH-2, AUTH-3: register, log in, and the token is good.
func TestRegisterAndLogin(t *testing.T) {
	w := newWorld(t)
	u := w.register("ann_1.x")
	if u.GetUsername() != "ann_1.x" || u.GetNickname() != "N ann_1.x" || u.GetUserId() == "" {
		t.Errorf("Register = %v; want the user", u)
	}
	_, err := w.pub.Register(t.Context(), &authv1.RegisterRequest{Username: "ann_1.x", Password: password})
	wantReason(t, "register again", err, fault.UsernameTaken)
	r := w.login("ann_1.x", "d1")
	if r.GetUser().GetNickname() != "N ann_1.x" || r.GetExpiresIn() != 600 {
		t.Errorf("Login = user %v, expires in %d; want the profile and 600 s", r.GetUser(), r.GetExpiresIn())
	}
	v, err := w.internal.Verify(t.Context(), &authv1.VerifyRequest{AccessToken: r.GetAccessToken()})
	if err != nil || v.GetUserId() != u.GetUserId() || v.GetDeviceId() != "d1" || v.GetPlatform() != authv1.Platform_PLATFORM_WEB {
		t.Errorf("Verify = %v, %v; want ann on d1", v, err)
	}
	if got := w.state(v.GetSessionId()); got != faststate.Allowed {
		t.Errorf("state on the allow-list = %d; want Allowed", got)
	}
	nick, err := w.pub.Register(t.Context(), &authv1.RegisterRequest{Username: "bob", Password: password, Nickname: "  "})
	if err != nil || nick.GetUser().GetNickname() != "bob" {
		t.Errorf("Register without a nickname = %v, %v; want the username", nick, err)
	}
}

func TestConcurrentRegister(t *testing.T) {
	w := newWorld(t)
	errs := make([]error, 20)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = w.pub.Register(t.Context(), &authv1.RegisterRequest{Username: "ann", Password: password})
		})
	}
	wg.Wait()
	ok := 0
	for _, err := range errs {
		if err == nil {
			ok++
			continue
		}
		wantReason(t, "register", err, fault.UsernameTaken)
	}
	if ok != 1 {
		t.Errorf("%d of 20 registrations of one name succeeded; want 1", ok)
	}
}

func TestBadCredentials(t *testing.T) {
	w := newWorld(t)
	w.register("ann")
	tests := []struct{ name, username, password string }{
		{"wrong password", "ann", "wrong horse"},
		{"unknown user", "nobody", password},
		{"upper case", "ANN", password},
		{"impossible username", "a b/c", password},
		{"impossible password", "ann", "short"},
		{"huge password", "ann", strings.Repeat("x", 10_000)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.tryLogin(tt.username, tt.password, "d1")
			wantReason(t, "login", err, fault.BadCredentials)
		})
	}
}

// Guessing is slowed down per account, right passwords do not count, and others are not touched.
func TestFailedLogins(t *testing.T) {
	w := newWorld(t, func(c *auth.Config) { c.FailedLogins = 3 })
	w.register("ann")
	w.register("bob")
	for range 10 {
		w.login("ann", "d1")
	}
	for _, name := range []string{"ann", "nobody"} {
		for range 3 {
			_, err := w.tryLogin(name, "wrong horse", "d1")
			wantReason(t, "wrong password of "+name, err, fault.BadCredentials)
		}
		for range 3 {
			_, err := w.tryLogin(name, "wrong horse", "d1")
			wantReason(t, "one too many of "+name, err, fault.RateLimited)
			if after := fault.Of(err).RetryAfter; after <= 0 || after > 20*time.Second {
				t.Errorf("retry after = %s; want up to 20 s", after)
			}
		}
	}
	_, err := w.tryLogin("ann", password, "d1")
	wantReason(t, "right password while locked", err, fault.RateLimited)
	w.login("bob", "d1")
	w.clock.advance(21 * time.Second)
	w.login("ann", "d1")
}

// AUTH-1: a new password ends every other session and works once.
func TestChangePassword(t *testing.T) {
	w := newWorld(t)
	w.register("ann")
	keep, other1, other2 := w.login("ann", "d1"), w.login("ann", "d2"), w.login("ann", "d3")
	ids := []string{sessionOf(w.as(other1)), sessionOf(w.as(other2))}
	ctx := w.as(keep)
	_, err := w.pub.ChangePassword(ctx, &authv1.ChangePasswordRequest{OldPassword: "wrong horse", NewPassword: "new password"})
	wantReason(t, "wrong old password", err, fault.BadCredentials)
	_, err = w.pub.ChangePassword(ctx, &authv1.ChangePasswordRequest{OldPassword: password, NewPassword: "new password"})
	wantReason(t, "change", err, "")
	wantReason(t, "own session", w.verify(keep.GetAccessToken()), "")
	for i, o := range []*authv1.TokenResponse{other1, other2} {
		wantReason(t, "other session", w.verify(o.GetAccessToken()), fault.SessionEnded)
		_, err := w.refresh(o.GetRefreshToken())
		wantReason(t, "refresh of another session", err, fault.SessionEnded)
		if got := w.state(ids[i]); got != faststate.Denied {
			t.Errorf("state of session %d = %d; want Denied", i, got)
		}
	}
	if got := len(w.bus.ended()); got != 2 {
		t.Errorf("signals = %q; want the two sessions", w.bus.ended())
	}
	_, err = w.tryLogin("ann", password, "d4")
	wantReason(t, "old password", err, fault.BadCredentials)
	if _, err = w.tryLogin("ann", "new password", "d4"); err != nil {
		t.Errorf("Login with the new password = %v; want nil", err)
	}
}

func TestConcurrentChangePassword(t *testing.T) {
	w := newWorld(t, func(c *auth.Config) { c.FailedLogins = 0 })
	w.register("ann")
	ctx := w.as(w.login("ann", "d1"))
	errs := make([]error, 10)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = w.pub.ChangePassword(ctx, &authv1.ChangePasswordRequest{OldPassword: password, NewPassword: "new password " + string(rune('a'+i))})
		})
	}
	wg.Wait()
	ok := 0
	for _, err := range errs {
		if err == nil {
			ok++
			continue
		}
		wantReason(t, "change", err, fault.BadCredentials)
	}
	if ok != 1 {
		t.Errorf("%d of 10 changes succeeded; want 1", ok)
	}
}

// A log-in whose password was checked before a change of it and whose session starts after is refused.
func TestLoginOvertakenByChangePassword(t *testing.T) {
	w := newWorld(t)
	w.register("ann")
	ctx := w.as(w.login("ann", "d1"))
	w.sessions.beforeStart = sync.OnceFunc(func() {
		_, err := w.pub.ChangePassword(ctx, &authv1.ChangePasswordRequest{OldPassword: password, NewPassword: "new password"})
		wantReason(t, "change", err, "")
	})
	_, err := w.tryLogin("ann", password, "d2")
	wantReason(t, "login", err, fault.BadCredentials)
	list, err := w.pub.ListSessions(ctx, &authv1.ListSessionsRequest{})
	if err != nil || len(list.GetSessions()) != 1 || !list.GetSessions()[0].GetCurrent() {
		t.Errorf("ListSessions = %v, %v; want the session that changed the password", list, err)
	}
}

// Invariant 9: neither passwords nor tokens nor hashes are logged, also not by failures.
func TestSecretsAreNotLogged(t *testing.T) {
	w := newWorld(t)
	w.users.setDown(true)
	w.register("ann")
	_, err := w.tryLogin("ann", password, "d1")
	wantReason(t, "login without user", err, fault.Overloaded)
	w.users.setDown(false)
	r := w.login("ann", "d1")
	w.list.down.Store(true)
	_, err = w.pub.Logout(w.as(r), &authv1.LogoutRequest{})
	wantReason(t, "logout", err, "")
	log := w.logged.String()
	if log == "" {
		t.Error("nothing was logged; want the failures")
	}
	for _, secret := range []string{password, r.GetAccessToken(), r.GetRefreshToken(), "argon2id"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log shows %q", secret)
		}
	}
}

func TestConfig(t *testing.T) {
	var cfg auth.Config
	if _, err := config.Load(&cfg, config.Sources{}); err != nil {
		t.Fatalf("defaults: %v", err)
	}
	cfg.RefreshTTL, cfg.HashMemory, cfg.HashThreads = time.Minute, 64<<10, 16
	err := cfg.Validate()
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != 2 {
		t.Errorf("Validate = %v; want two broken rules", err)
	}
}
