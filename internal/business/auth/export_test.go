package auth

import (
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// PasswordChangedForTest returns the event that ChangePassword stores.
func PasswordChangedForTest(t *testing.T, user, session string, at time.Time) store.Event {
	t.Helper()
	e, err := newEvent(passwordChanged, store.Session{UserID: chat.UserID(user), ID: chat.SessionID(session)}, at, stored{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}
