package oceanchat_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

// older makes a store look like one that an older version wrote: it does not say whose session it has.
func older(t *testing.T, s store.Store) {
	t.Helper()
	st, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	st.Meta.Username, st.Meta.DeviceID = "", ""
	if err := s.Apply(t.Context(), store.Batch{Meta: &st.Meta}); err != nil {
		t.Fatal(err)
	}
}

// Whoever names a user is never connected as another one, whose session the Store holds.
func TestStoreOfAnotherUser(t *testing.T) {
	tests := []struct {
		name  string
		older bool
		gone  bool // the session is over
		want  string
		asked int // how often a connection was needed to find out
	}{
		{"known", false, false, "the Store belongs to user cid, not to bob", 0},
		{"known, session over", false, true, "the Store belongs to user cid, not to bob", 0},
		{"older", true, false, "the Store belongs to user cid, not to bob", 1},
		{"older, session over", true, true, "the Store belongs to the user with the id u3, not to bob", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				s := store.NewMemory()
				cid := w.start("cid", with(s), func(o *oceanchat.Options) { o.DeviceID = "d" })
				w.srv.Play("fail handshake times=-1")
				w.srv.CutAll()
				phase(t, cid, oceanchat.Waiting) // or it would be sent yet
				if _, err := cid.Conversation(oceanchat.User("u1")).Enqueue(t.Context(), oceanchat.Text("of cid")); err != nil {
					t.Fatal(err)
				}
				cid.Close()
				w.srv.Calm()
				if tt.older {
					older(t, s)
				}
				if tt.gone {
					w.srv.ExpireTokens()
					w.srv.EndSessions("u3")
				}
				before := w.srv.Requests("connect")
				o := w.options("bob")
				o.Store, o.DeviceID = s, "d"
				bob := w.client(o)
				err := bob.Start(t.Context())
				var closed *oceanchat.ClosedError
				if !errors.As(err, &closed) || closed.Reason != oceanchat.WrongUser || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Start = %v; want a ClosedError for wrongUser with %q", err, tt.want)
				}
				if _, err := w.client(o).Conversation(oceanchat.User("u1")).Enqueue(t.Context(), oceanchat.Text("of bob")); err == nil && !tt.older {
					t.Error("Enqueue into another user's Store = nil; want an error")
				}
				if got := w.srv.Requests("connect") - before; got != tt.asked {
					t.Errorf("connects = %d; want %d", got, tt.asked)
				}
				if got := w.srv.Requests("message.send"); got != 0 {
					t.Errorf("%d messages were sent; want none", got)
				}
			})
		})
	}
}

// The Store's own user goes on with its session, however the name is written, without a password, and from a Store that
// does not say whose it is.
func TestStoreOfTheSameUser(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := store.NewMemory()
		w.start("ann", with(s)).Close()
		w.start("ann", with(s), func(o *oceanchat.Options) { o.Username, o.Password = "Ann", "" }).Close()
		older(t, s)
		w.start("ann", with(s)).Close()
		w.start("ann", with(s)).Close()
		got := []int{w.srv.Requests("auth.login"), w.srv.Requests("user.getMe")}
		if d := cmp.Diff([]int{1, 1}, got); d != "" {
			t.Errorf("log-ins and questions who it is (-want +got):\n%s", d)
		}
	})
}

func TestNoPasswordAndNoSession(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		o := w.options("ann")
		o.Password, o.Store = "", store.NewMemory()
		var closed *oceanchat.ClosedError
		if err := w.client(o).Start(t.Context()); !errors.As(err, &closed) || closed.Reason != oceanchat.Unauthenticated {
			t.Errorf("Start = %v; want a ClosedError for unauthenticated", err)
		}
	})
}

// A session is of one device: another DeviceID takes a log-in, or says why there is none.
func TestStoreOfAnotherDevice(t *testing.T) {
	for _, old := range []bool{false, true} {
		inDevice := func(w *world, s store.Store, password string) oceanchat.Options {
			o := w.options("ann")
			o.Store, o.DeviceID, o.Password = s, "another", password
			return o
		}
		t.Run(map[bool]string{false: "known", true: "older"}[old], func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				s := store.NewMemory()
				w.start("ann", with(s)).Close()
				if old {
					older(t, s)
				}
				var closed *oceanchat.ClosedError
				err := w.client(inDevice(w, s, "")).Start(t.Context())
				if !errors.As(err, &closed) || !strings.Contains(err.Error(), "DeviceID") || !strings.Contains(err.Error(), "another") {
					t.Errorf("Start without a password = %v; want a ClosedError that names DeviceID", err)
				}
				c := w.client(inDevice(w, s, "password of ann"))
				if err := c.Start(t.Context()); err != nil {
					t.Fatalf("Start with a password = %v; want nil", err)
				}
				c.Close()
				w.start("ann", with(s), func(o *oceanchat.Options) { o.DeviceID = "another" })
				if got := w.srv.Requests("auth.login"); got != 2 {
					t.Errorf("log-ins = %d; want 2", got)
				}
			})
		})
	}
}

// What a proxy answers has a code and perhaps nothing else.
func TestErrorText(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]*oceanchat.Error{
		"NOT_MEMBER: not a member":        {Code: "PERMISSION_DENIED", Reason: "NOT_MEMBER", Message: "not a member"},
		"UNAVAILABLE: status 502 Gateway": {Code: "UNAVAILABLE", Message: "status 502 Gateway"},
		"NOT_FOUND":                       {Code: "NOT_FOUND", Reason: "NOT_FOUND"},
	} {
		if got := e.Error(); got != want {
			t.Errorf("Error() = %q; want %q", got, want)
		}
	}
}
