package auth_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/business/auth"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

func often(c *auth.Config) { c.RelayEvery = 10 * time.Millisecond }

// kinds returns the events as "type session device".
func kinds(events []*authv1.UserEvent, names map[string]string) []string {
	var out []string
	for _, e := range events {
		out = append(out, strings.TrimSpace(e.GetType()+" "+names[e.GetSessionId()]+" "+e.GetDeviceId()))
	}
	return out
}

// AUTH-4: every key act is an event, in order, once, although the stream was down and acknowledgements are lost.
func TestEvents(t *testing.T) {
	w := newWorld(t) // RelayEvery is 5 s: changes wake the relay
	w.bus.setDown(true)
	w.run()
	u := w.register("ann")
	names := map[string]string{}
	login := func(name, device, password string) *authv1.TokenResponse {
		r, err := w.tryLogin("ann", password, device)
		if err != nil {
			t.Fatal(err)
		}
		names[sessionOf(w.as(r))] = name
		return r
	}
	login("s1", "d1", password)
	s2 := login("s2", "d1", password)
	login("s3", "d3", password)
	_, err := w.pub.ChangePassword(w.as(s2), &authv1.ChangePasswordRequest{OldPassword: password, NewPassword: "new password"})
	wantReason(t, "change", err, "")
	w.bus.setDown(false)
	_, err = w.pub.Logout(w.as(s2), &authv1.LogoutRequest{})
	wantReason(t, "logout", err, "")
	want := []string{
		"registered", "loggedIn s1 d1", "loggedOut s1 d1", "loggedIn s2 d1", "loggedIn s3 d3", "passwordChanged s2 d1",
		"loggedOut s3 d3", "loggedOut s2 d1",
	}
	eventually(t, "all events are there", func() bool { return len(w.bus.seen()) >= len(want) })
	got := w.bus.seen()
	if d := cmp.Diff(want, kinds(got, names)); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
	for i, e := range got {
		if e.GetUserId() != u.GetUserId() || e.GetEventId() == "" || e.GetAt() == nil || w.bus.topics[i] != "user."+e.GetType() {
			t.Errorf("event %d on %s = %v; want ann's, with id and time", i, w.bus.topics[i], e)
		}
	}
	eventually(t, "the outbox is empty", func() bool {
		left, err := w.db.Outbox().Pending(t.Context(), 10)
		return err == nil && len(left) == 0
	})
}

// The body of an event is what docs/reference says: the public JSON, and nothing of what auth keeps beside it.
func TestEventBody(t *testing.T) {
	w := newWorld(t, often)
	w.run()
	u := w.register("ann")
	eventually(t, "the event is there", func() bool { return len(w.bus.seen()) == 1 })
	e := w.bus.seen()[0]
	want := `{"eventId":"` + e.GetEventId() + `","type":"registered","userId":"` + u.GetUserId() +
		`","sessionId":"","deviceId":"","platform":"","at":"`
	if got := w.bus.raw[0]; !strings.HasPrefix(got, want) || strings.Count(got, `"`) != strings.Count(want, `"`)+1 {
		t.Errorf("body = %s; want %s…", got, want)
	}
}

// A profile that could not be made at registration is made before its event is published, with its nickname.
func TestProfileHeals(t *testing.T) {
	w := newWorld(t, often)
	w.users.setDown(true)
	u := w.register("ann")
	if got := w.users.nickname(u.GetUserId()); got != "" {
		t.Fatalf("nickname = %q; want none yet", got)
	}
	w.restart() // as after a crash
	w.run()
	w.register("bob")
	if got := w.bus.seen(); len(got) != 0 {
		t.Errorf("events = %v; want none before the profile", got)
	}
	w.users.setDown(false)
	eventually(t, "both events are there", func() bool { return len(w.bus.seen()) == 2 })
	if got := w.users.nickname(u.GetUserId()); got != "N ann" {
		t.Errorf("nickname = %q; want N ann", got)
	}
}

// A log-in that is earlier than the relay makes the profile too.
func TestProfileHealsAtLogin(t *testing.T) {
	w := newWorld(t)
	w.users.setDown(true)
	w.register("ann")
	w.users.setDown(false)
	if r := w.login("ann", "d1"); r.GetUser().GetUsername() != "ann" {
		t.Errorf("user = %v; want ann", r.GetUser())
	}
}

// Invariant 5: a session that the allow-list could not be told of is denied as soon as it can, although the stream is down.
func TestDenialHeals(t *testing.T) {
	w := newWorld(t, often)
	w.bus.setDown(true)
	w.register("ann")
	r := w.login("ann", "d1")
	ctx := w.as(r)
	w.run()
	w.list.down.Store(true)
	_, err := w.pub.Logout(ctx, &authv1.LogoutRequest{})
	wantReason(t, "logout", err, "")
	if got := w.state(sessionOf(ctx)); got != faststate.Allowed {
		t.Fatalf("state = %d; want Allowed still", got)
	}
	w.list.down.Store(false)
	eventually(t, "the session is denied", func() bool { return w.state(sessionOf(ctx)) == faststate.Denied })
	if got := w.bus.ended(); len(got) == 0 || got[0] != sessionOf(ctx) {
		t.Errorf("signals = %q; want the session", got)
	}
}

// What was cut off between a new password and the ending of other sessions is done by the relay, for sessions that
// are older than the change and for no others.
func TestChangePasswordHeals(t *testing.T) {
	w := newWorld(t, often)
	u := w.register("ann")
	keep, old := w.login("ann", "d1"), w.login("ann", "d2")
	w.clock.advance(time.Second)
	account, err := w.db.Accounts().ByUsername(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	w.clock.advance(time.Second)
	young := w.login("ann", "d3") // stands for one that was opened with the new password
	e := auth.PasswordChangedForTest(t, u.GetUserId(), sessionOf(w.as(keep)), w.clock.Now().Add(-time.Second))
	if err := w.db.Accounts().SetPassword(t.Context(), account.UserID, account.PasswordHash, account.PasswordHash, e); err != nil {
		t.Fatal(err)
	}
	w.run()
	eventually(t, "the older session has ended", func() bool {
		return fault.IsReason(w.verify(old.GetAccessToken()), fault.SessionEnded)
	})
	wantReason(t, "the session that changed it", w.verify(keep.GetAccessToken()), "")
	wantReason(t, "the younger one", w.verify(young.GetAccessToken()), "")
}

// Who watches sees how many events wait, also beyond what is read at once, and since when.
func TestOutboxIsWatched(t *testing.T) {
	w := newWorld(t, often)
	w.bus.sound = true
	w.bus.setDown(true)
	w.run()
	w.register("ann")
	w.clock.advance(time.Minute)
	const more = 300 // above one batch
	for n := range more {
		e := auth.PasswordChangedForTest(t, "nobody", "none", w.clock.Now())
		a := store.Account{UserID: chat.UserID(fmt.Sprint("u", n)), Username: fmt.Sprint("u", n)}
		if err := w.db.Accounts().Create(t.Context(), a, e); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are counted, by the age of the first", func() bool {
		age := w.gauge("oceanchat_auth_outbox_oldest_seconds")
		return w.gauge("oceanchat_auth_outbox_events") == more+1 && age >= 60 && age < 61
	})
	w.bus.setDown(false)
	eventually(t, "none is left", func() bool {
		return w.gauge("oceanchat_auth_outbox_events") == 0 && w.gauge("oceanchat_auth_outbox_oldest_seconds") == 0
	})
}
