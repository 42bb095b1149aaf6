package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

func account(id string) store.Account {
	return store.Account{UserID: chat.UserID(id), Username: "name." + id, PasswordHash: "hash of " + id, CreatedAt: at(1)}
}

func event(id string) store.Event {
	return store.Event{ID: id, Subject: "auth.event.x", Data: []byte("event " + id)}
}

// TestAccounts runs the rules of store.Accounts.
func TestAccounts(t *testing.T, open Open) {
	t.Run("create and read", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		ann := store.Account{UserID: "ann", Username: odd, PasswordHash: odd, CreatedAt: at(7)}
		must(t, s.Accounts.Create(ctx, ann, event("e1")))
		same(t, "ByID", got[store.Account](t)(s.Accounts.ByID(ctx, "ann")), ann)
		same(t, "ByUsername", got[store.Account](t)(s.Accounts.ByUsername(ctx, odd)), ann)
		same(t, "Pending", got[[]store.Event](t)(s.Outbox.Pending(ctx, 9)), []store.Event{event("e1")})
	})
	t.Run("absent", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		_, err := s.Accounts.ByID(ctx, "ann")
		wantErr(t, "ByID", err, store.ErrNotFound)
		_, err = s.Accounts.ByUsername(ctx, "")
		wantErr(t, "ByUsername", err, store.ErrNotFound)
	})
	t.Run("taken name and id leave no event", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		must(t, s.Accounts.Create(ctx, account("ann"), event("e1")))
		other := account("bob")
		other.Username = "name.ann"
		wantErr(t, "taken name", s.Accounts.Create(ctx, other, event("e2")), store.ErrExists)
		other = account("ann")
		other.Username = "another"
		wantErr(t, "taken id", s.Accounts.Create(ctx, other, event("e3")), store.ErrExists)
		_, err := s.Accounts.ByUsername(ctx, "another")
		wantErr(t, "name of the refused one", err, store.ErrNotFound)
		same(t, "Pending", got[[]store.Event](t)(s.Outbox.Pending(ctx, 9)), []store.Event{event("e1")})
	})
	t.Run("one of many gets a name", func(t *testing.T) { // AUTH: a username belongs to one user
		s, ctx := open(t), t.Context()
		winner := oneWins(t, race(func(n int) error {
			a := account(fmt.Sprint("u", n))
			a.Username = "same"
			return s.Accounts.Create(ctx, a, event(fmt.Sprint("e", n)))
		}), store.ErrExists)
		a := got[store.Account](t)(s.Accounts.ByUsername(ctx, "same"))
		same(t, "winner", a.UserID, chat.UserID(fmt.Sprint("u", winner)))
		same(t, "Pending", got[[]store.Event](t)(s.Outbox.Pending(ctx, 99)), []store.Event{event(fmt.Sprint("e", winner))})
	})
	t.Run("password", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		must(t, s.Accounts.Create(ctx, account("ann"), event("e1")))
		wantErr(t, "wrong old hash", s.Accounts.SetPassword(ctx, "ann", "x", "y", event("e2")), store.ErrConflict)
		wantErr(t, "unknown id", s.Accounts.SetPassword(ctx, "bob", "x", "y", event("e3")), store.ErrConflict)
		oneWins(t, race(func(n int) error {
			return s.Accounts.SetPassword(ctx, "ann", "hash of ann", fmt.Sprint("new", n), event(fmt.Sprint("p", n)))
		}), store.ErrConflict)
		if es := got[[]store.Event](t)(s.Outbox.Pending(ctx, 99)); len(es) != 2 {
			t.Fatalf("%d events; want that of Create and one of SetPassword", len(es))
		}
	})
}

// TestOutbox runs the rules of store.Outbox.
func TestOutbox(t *testing.T, open Open) {
	t.Run("oldest first, then forgotten", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		var all []store.Event
		for n := range 10 {
			e := event(fmt.Sprint("e", 9-n)) // ids do not give the order
			all = append(all, e)
			must(t, s.Accounts.Create(ctx, account(fmt.Sprint("u", n)), e))
		}
		same(t, "first", got[[]store.Event](t)(s.Outbox.Pending(ctx, 3)), all[:3])
		must(t, s.Outbox.Done(ctx, []string{all[0].ID, all[2].ID, "unknown"}))
		same(t, "rest", got[[]store.Event](t)(s.Outbox.Pending(ctx, 99)), append([]store.Event{all[1]}, all[3:]...))
		must(t, s.Outbox.Done(ctx, []string{all[0].ID})) // again
		must(t, s.Outbox.Done(ctx, nil))
		if n := len(got[[]store.Event](t)(s.Outbox.Pending(ctx, 99))); n != 8 {
			t.Fatalf("%d events left; want 8", n)
		}
		if n := got[int](t)(s.Outbox.Len(ctx)); n < 6 || n > 10 { // about as many
			t.Errorf("Len = %d; want about 8", n)
		}
		for _, e := range all {
			must(t, s.Outbox.Done(ctx, []string{e.ID}))
		}
		same(t, "Len of none", got[int](t)(s.Outbox.Len(ctx)), 0)
	})
	t.Run("empty", func(t *testing.T) {
		s := open(t)
		same(t, "Len", got[int](t)(s.Outbox.Len(t.Context())), 0)
		same(t, "Pending", got[[]store.Event](t)(s.Outbox.Pending(t.Context(), 9)), []store.Event(nil))
		must(t, s.Accounts.Create(t.Context(), account("ann"), store.Event{})) // the zero Event is none
		same(t, "Pending", got[[]store.Event](t)(s.Outbox.Pending(t.Context(), 9)), []store.Event(nil))
		same(t, "limit 0", got[[]store.Event](t)(s.Outbox.Pending(t.Context(), 0)), []store.Event(nil))
	})
	t.Run("large data", func(t *testing.T) {
		s, e := open(t), event("e")
		e.Data = make([]byte, 1<<20)
		e.Data[1<<19] = 0xff
		must(t, s.Accounts.Create(t.Context(), account("ann"), e))
		same(t, "Pending", got[[]store.Event](t)(s.Outbox.Pending(t.Context(), 9)), []store.Event{e})
	})
}

// TestKeys runs the rules of store.Keys.
func TestKeys(t *testing.T, open Open) {
	t.Run("first one stays", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		same(t, "first", got[[]byte](t)(s.Keys.PutIfAbsent(ctx, "k", []byte{0, 1})), []byte{0, 1})
		same(t, "second", got[[]byte](t)(s.Keys.PutIfAbsent(ctx, "k", []byte("other"))), []byte{0, 1})
		same(t, "other name", got[[]byte](t)(s.Keys.PutIfAbsent(ctx, odd, []byte("other"))), []byte("other"))
		same(t, "empty value", got[[]byte](t)(s.Keys.PutIfAbsent(ctx, "none", nil)), []byte(nil))
		same(t, "after empty", got[[]byte](t)(s.Keys.PutIfAbsent(ctx, "none", []byte("x"))), []byte(nil))
	})
	t.Run("all racers get the same", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		values := make([]string, racers)
		noErrors(t, race(func(n int) error {
			v, err := s.Keys.PutIfAbsent(ctx, "k", fmt.Append(nil, n))
			values[n] = string(v)
			return err
		}))
		for _, v := range values {
			same(t, "value", v, values[0])
		}
	})
}

func session(id, user, device string) store.Session {
	return store.Session{
		ID: chat.SessionID(id), UserID: chat.UserID(user), DeviceID: chat.DeviceID(device), Platform: 2, Generation: 0,
		CreatedAt: at(1), RefreshedAt: at(2), ExpiresAt: later,
	}
}

func sessionID(s store.Session) string { return string(s.ID) }

// TestSessions runs the rules of store.Sessions.
func TestSessions(t *testing.T, open Open) {
	start := func(t *testing.T, s Stores, se store.Session) []store.Session {
		t.Helper()
		return got[[]store.Session](t)(s.Sessions.Start(t.Context(), se, event("start."+string(se.ID))))
	}
	t.Run("start and read", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		a, b := session("s1", "ann", "phone"), session("s2", "ann", "desk")
		b.CreatedAt = at(2)
		same(t, "ended", start(t, s, a), []store.Session(nil))
		same(t, "ended", start(t, s, b), []store.Session(nil))
		start(t, s, session("s3", "bob", "phone"))
		sameSet(t, "Get", got[[]store.Session](t)(s.Sessions.Get(ctx, []chat.SessionID{"s1", "no", "s2"})), []store.Session{a, b}, sessionID)
		same(t, "OfUser", got[[]store.Session](t)(s.Sessions.OfUser(ctx, "ann")), []store.Session{b, a}) // newest first
		same(t, "Get of none", got[[]store.Session](t)(s.Sessions.Get(ctx, nil)), []store.Session(nil))
		same(t, "OfUser of none", got[[]store.Session](t)(s.Sessions.OfUser(ctx, "eve")), []store.Session(nil))
	})
	t.Run("a new one ends the device's old one", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		a := session("s1", "ann", "phone")
		start(t, s, a)
		start(t, s, session("s2", "ann", "desk"))
		same(t, "ended", start(t, s, session("s3", "ann", "phone")), []store.Session{a})
		if all := got[[]store.Session](t)(s.Sessions.OfUser(ctx, "ann")); len(all) != 2 {
			t.Fatalf("%d sessions; want 2", len(all))
		}
		if es := got[[]store.Event](t)(s.Outbox.Pending(ctx, 9)); len(es) != 3 {
			t.Fatalf("%d events; want one for each Start", len(es))
		}
		_, err := s.Sessions.Start(ctx, session("s3", "bob", "desk"), event("x"))
		wantErr(t, "id of another", err, store.ErrExists)
	})
	t.Run("one session stays of racing log-ins of a device", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		ended := make([][]store.Session, racers)
		noErrors(t, race(func(n int) (err error) {
			ended[n], err = s.Sessions.Start(ctx, session(fmt.Sprint("s", n), "ann", "phone"), event(fmt.Sprint("e", n)))
			return err
		}))
		seen := make(map[chat.SessionID]bool)
		for _, es := range ended {
			for _, e := range es {
				if seen[e.ID] {
					t.Fatalf("session %s ended twice", e.ID)
				}
				seen[e.ID] = true
			}
		}
		left := got[[]store.Session](t)(s.Sessions.OfUser(ctx, "ann"))
		if len(left) != 1 || len(seen) != racers-1 || seen[left[0].ID] {
			t.Fatalf("%d open, %d ended; want 1 and %d", len(left), len(seen), racers-1)
		}
	})
	t.Run("rotate", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		want := session("s1", "ann", "phone")
		start(t, s, want)
		want.Generation, want.RefreshedAt, want.ExpiresAt = 1, at(9), later.Add(time.Hour)
		same(t, "Rotate", got[store.Session](t)(s.Sessions.Rotate(ctx, "s1", 0, at(9), want.ExpiresAt)), want)
		same(t, "Get", got[[]store.Session](t)(s.Sessions.Get(ctx, []chat.SessionID{"s1"})), []store.Session{want})
		_, err := s.Sessions.Rotate(ctx, "s1", 0, at(10), later)
		wantErr(t, "old generation", err, store.ErrConflict)
		_, err = s.Sessions.Rotate(ctx, "s1", 2, at(10), later)
		wantErr(t, "future generation", err, store.ErrConflict)
		_, err = s.Sessions.Rotate(ctx, "no", 0, at(10), later)
		wantErr(t, "unknown", err, store.ErrNotFound)
		oneWins(t, race(func(int) error {
			_, err := s.Sessions.Rotate(ctx, "s1", 1, at(11), later)
			return err
		}), store.ErrConflict)
	})
	t.Run("lapsed ones are not there", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		old := session("s1", "ann", "phone")
		old.ExpiresAt = at(0)
		start(t, s, old)
		same(t, "Get", got[[]store.Session](t)(s.Sessions.Get(ctx, []chat.SessionID{"s1"})), []store.Session(nil))
		same(t, "OfUser", got[[]store.Session](t)(s.Sessions.OfUser(ctx, "ann")), []store.Session(nil))
		_, err := s.Sessions.Rotate(ctx, "s1", 0, at(9), later)
		wantErr(t, "Rotate", err, store.ErrNotFound)
		ended, err := s.Sessions.End(ctx, "ann", []chat.SessionID{"s1"}, []store.Event{event("end")})
		same(t, "End", got[[]store.Session](t)(ended, err), []store.Session(nil))
		same(t, "Start", start(t, s, session("s2", "ann", "phone")), []store.Session(nil))
	})
	t.Run("end", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		a := session("s1", "ann", "phone")
		start(t, s, a)
		start(t, s, session("s2", "bob", "phone"))
		must(t, s.Outbox.Done(ctx, []string{"start.s1", "start.s2"}))
		ids, events := []chat.SessionID{"no", "s1", "s2"}, []store.Event{event("e0"), event("e1"), event("e2")}
		same(t, "End", got[[]store.Session](t)(s.Sessions.End(ctx, "ann", ids, events)), []store.Session{a})
		same(t, "End again", got[[]store.Session](t)(s.Sessions.End(ctx, "ann", ids, events)), []store.Session(nil))
		same(t, "events", got[[]store.Event](t)(s.Outbox.Pending(ctx, 9)), []store.Event{event("e1")}) // bob's is not ann's
		if n := len(got[[]store.Session](t)(s.Sessions.OfUser(ctx, "bob"))); n != 1 {
			t.Fatalf("bob has %d sessions; want 1: ann cannot end it", n)
		}
		same(t, "End of none", got[[]store.Session](t)(s.Sessions.End(ctx, "ann", nil, nil)), []store.Session(nil))
	})
	t.Run("racing ends tell of it once", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		start(t, s, session("s1", "ann", "phone"))
		oneWins(t, race(func(n int) error {
			ended, err := s.Sessions.End(ctx, "ann", []chat.SessionID{"s1"}, []store.Event{event(fmt.Sprint("end", n))})
			if err == nil && len(ended) == 0 {
				err = errNothing
			}
			return err
		}), errNothing)
		if n := len(got[[]store.Event](t)(s.Outbox.Pending(ctx, 99))); n != 2 {
			t.Fatalf("%d events; want that of the start and one of the end", n)
		}
	})
}

var errNothing = errors.New("nothing done")

// TestPushTokens runs the rules of store.PushTokens.
func TestPushTokens(t *testing.T, open Open) {
	token := func(user, device, text string, ms int) store.PushToken {
		return store.PushToken{
			UserID: chat.UserID(user), DeviceID: chat.DeviceID(device), Provider: 1, Token: text, AppID: "app",
			Environment: 2, Language: "zh-Hans", RegisteredAt: at(ms),
		}
	}
	key := func(p store.PushToken) string { return string(p.UserID) + "/" + string(p.DeviceID) }
	of := func(t *testing.T, s Stores, users ...chat.UserID) []store.PushToken {
		t.Helper()
		return got[[]store.PushToken](t)(s.PushTokens.OfUsers(t.Context(), users))
	}
	t.Run("put and read", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		a, b, c := token("ann", "phone", "t1", 1), token("ann", "pad", odd, 2), token("bob", "phone", "t3", 3)
		for _, p := range []store.PushToken{a, b, c, a} { // again is harmless
			must(t, s.PushTokens.Put(ctx, p))
		}
		sameSet(t, "both", of(t, s, "ann", "bob", "eve"), []store.PushToken{a, b, c}, key)
		sameSet(t, "bob", of(t, s, "bob"), []store.PushToken{c}, key)
		same(t, "none", of(t, s), []store.PushToken(nil))
	})
	t.Run("a new token takes the old one's place", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		must(t, s.PushTokens.Put(ctx, token("ann", "phone", "t1", 1)))
		b := token("ann", "phone", "t2", 2)
		b.Provider = 3
		must(t, s.PushTokens.Put(ctx, b))
		same(t, "ann", of(t, s, "ann"), []store.PushToken{b})
	})
	t.Run("a token moves to the device that registers it", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		must(t, s.PushTokens.Put(ctx, token("ann", "phone", "t1", 1)))
		b := token("bob", "phone", "t1", 2)
		must(t, s.PushTokens.Put(ctx, b))
		same(t, "both", of(t, s, "ann", "bob"), []store.PushToken{b})
		c := token("cid", "phone", "t1", 3)
		c.AppID = "other app"
		must(t, s.PushTokens.Put(ctx, c)) // another app's token may be the same text
		sameSet(t, "all", of(t, s, "ann", "bob", "cid"), []store.PushToken{b, c}, key)
	})
	t.Run("delete", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		a, b := token("ann", "phone", "t1", 5), token("ann", "pad", "t2", 5)
		must(t, s.PushTokens.Put(ctx, a))
		must(t, s.PushTokens.Put(ctx, b))
		must(t, s.PushTokens.Delete(ctx, "ann", "phone", at(4))) // a newer registration stays
		sameSet(t, "before", of(t, s, "ann"), []store.PushToken{a, b}, key)
		must(t, s.PushTokens.Delete(ctx, "ann", "phone", at(5)))
		must(t, s.PushTokens.Delete(ctx, "ann", "phone", at(5)))
		same(t, "after", of(t, s, "ann"), []store.PushToken{b})
	})
	t.Run("a session ends", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		old, mine, pad := token("ann", "phone", "t1", 5), token("ann", "phone", "t2", 6), token("ann", "pad", "t3", 5)
		mine.SessionID, pad.SessionID = "s2", "s3"
		must(t, s.PushTokens.Put(ctx, pad))
		must(t, s.PushTokens.Put(ctx, mine))
		for _, other := range []chat.SessionID{"s1", "s3", ""} { // another one's end, whatever the clocks say
			must(t, s.PushTokens.EndSession(ctx, "ann", "phone", other, at(9)))
		}
		sameSet(t, "of an open session", of(t, s, "ann"), []store.PushToken{mine, pad}, key)
		must(t, s.PushTokens.EndSession(ctx, "ann", "phone", "s2", at(1)))
		same(t, "of an ended session", of(t, s, "ann"), []store.PushToken{pad})
		must(t, s.PushTokens.Put(ctx, old)) // an earlier version named no session
		must(t, s.PushTokens.EndSession(ctx, "ann", "phone", "s1", at(4)))
		sameSet(t, "registered since", of(t, s, "ann"), []store.PushToken{old, pad}, key)
		must(t, s.PushTokens.EndSession(ctx, "ann", "phone", "s1", at(5)))
		must(t, s.PushTokens.EndSession(ctx, "ann", "phone", "s1", at(5)))
		same(t, "registered before", of(t, s, "ann"), []store.PushToken{pad})
	})
	t.Run("racing registrations leave one device", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		var users []chat.UserID
		for n := range racers {
			users = append(users, chat.UserID(fmt.Sprint("u", n)))
		}
		noErrors(t, race(func(n int) error { return s.PushTokens.Put(ctx, token(string(users[n]), "phone", "same", n)) }))
		if all := of(t, s, users...); len(all) != 1 {
			t.Fatalf("%d devices have the token; want 1", len(all))
		}
	})
}
