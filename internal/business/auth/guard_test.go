package auth_test

import (
	"fmt"
	"testing"
	"time"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/business/auth"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// from tries to log in from a network.
func (w *world) from(network, username, password string) error {
	_, err := w.pub.Login(calls.WithClient(w.t.Context(), network), &authv1.LoginRequest{
		Username: username, Password: password, DeviceId: "d-" + network, Platform: authv1.Platform_PLATFORM_WEB,
	})
	return err
}

// Who guesses from one network or from many is stopped, and does not lock the owner out of where it is.
func TestGuessing(t *testing.T) {
	w := newWorld(t, func(c *auth.Config) { c.FailedLogins, c.FailedLoginsEverywhere = 3, 8 })
	w.register("ann")
	wantReason(t, "the owner at home", w.from("home", "ann", password), "")
	w.clock.advance(10 * time.Minute)
	for try := range 3 {
		wantReason(t, fmt.Sprint("guess ", try), w.from("evil-1", "ann", "wrong horse"), fault.BadCredentials)
	}
	wantReason(t, "one guess too many", w.from("evil-1", "ann", "wrong horse"), fault.RateLimited)
	wantReason(t, "the right one after that", w.from("evil-1", "ann", password), fault.RateLimited)
	wantReason(t, "the owner at home", w.from("home", "ann", password), "")
	wantReason(t, "the owner elsewhere", w.from("work", "ann", password), "")

	for n := range 5 {
		wantReason(t, "another network's guess", w.from(fmt.Sprint("bot-", n), "ann", "wrong horse"), fault.BadCredentials)
	}
	wantReason(t, "the guess that is too many for the account", w.from("bot-5", "ann", "wrong horse"), fault.RateLimited)
	wantReason(t, "a network that never guessed", w.from("bot-6", "ann", password), fault.RateLimited)
	wantReason(t, "the owner at home while all the world guesses", w.from("home", "ann", password), "")
	wantReason(t, "and at work", w.from("work", "ann", password), "")
	wantReason(t, "an account that is not guessed at", w.from("bot-6", "bob", "wrong horse"), fault.BadCredentials)

	w.clock.advance(time.Minute)
	wantReason(t, "the owner on a journey, later", w.from("hotel", "ann", password), "")
}

// A thief of a session may guess the old password no more often than others, and locks nobody out by it.
func TestGuessingBySession(t *testing.T) {
	w := newWorld(t, func(c *auth.Config) { c.FailedLogins, c.FailedLoginsEverywhere = 3, 3 })
	w.register("ann")
	stolen := w.as(w.login("ann", "d1"))
	guess := func() error {
		_, err := w.pub.ChangePassword(stolen, &authv1.ChangePasswordRequest{OldPassword: "wrong horse", NewPassword: "new password"})
		return err
	}
	for range 3 {
		wantReason(t, "a guess", guess(), fault.BadCredentials)
	}
	wantReason(t, "one guess too many", guess(), fault.RateLimited)
	wantReason(t, "the owner from a new network", w.from("hotel", "ann", password), "")
	if _, err := w.pub.ChangePassword(w.as(w.login("ann", "d2")), &authv1.ChangePasswordRequest{OldPassword: password, NewPassword: "new password"}); err != nil {
		t.Errorf("ChangePassword by the owner = %v; want nil", err)
	}
}
