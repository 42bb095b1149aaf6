package auth_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/business/auth"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// samePair compares two answers but for the seconds that went by.
func samePair(t *testing.T, what string, a, b *authv1.TokenResponse) {
	t.Helper()
	if d := cmp.Diff(a, b, protocmp.Transform(), protocmp.IgnoreFields(&authv1.TokenResponse{}, "expires_in")); d != "" {
		t.Errorf("%s: another pair (-first +second):\n%s", what, d)
	}
}

// AUTH-2: a refresh token works once; the one before gives the same pair for 60 s; any older one ends the session.
func TestRefresh(t *testing.T) {
	w := newWorld(t)
	w.register("ann")
	p0 := w.login("ann", "d1")
	w.clock.advance(time.Minute)
	p1, err := w.refresh(p0.GetRefreshToken())
	if err != nil || p1.GetRefreshToken() == p0.GetRefreshToken() || p1.GetAccessToken() == p0.GetAccessToken() {
		t.Fatalf("Refresh = %v, %v; want a new pair", p1, err)
	}
	if p1.GetUser().GetUsername() != "ann" || p1.GetExpiresIn() != 600 {
		t.Errorf("Refresh = user %v, expires in %d; want ann, 600", p1.GetUser(), p1.GetExpiresIn())
	}
	w.clock.advance(59 * time.Second)
	again, err := w.refresh(p0.GetRefreshToken())
	wantReason(t, "the one before, after 59 s", err, "")
	samePair(t, "the one before", p1, again)
	if again.GetExpiresIn() != 541 {
		t.Errorf("expires in = %d; want 541: it is the same token", again.GetExpiresIn())
	}
	p2, err := w.refresh(p1.GetRefreshToken())
	wantReason(t, "the current one", err, "")
	wantReason(t, "access token", w.verify(p2.GetAccessToken()), "")
	_, err = w.refresh(p0.GetRefreshToken())
	wantReason(t, "two before", err, fault.RefreshReused)
	_, err = w.refresh(p2.GetRefreshToken())
	wantReason(t, "after reuse", err, fault.SessionEnded)
	wantReason(t, "access token after reuse", w.verify(p2.GetAccessToken()), fault.SessionEnded)
	if got := w.bus.ended(); len(got) != 1 {
		t.Errorf("signals = %q; want the session", got)
	}
}

// A fresh pair's life is told whole, however long making it takes.
func TestExpiresInOfAFreshPair(t *testing.T) {
	w := newWorld(t)
	w.register("ann")
	w.clock.setStep(700 * time.Millisecond)
	p0 := w.login("ann", "d1")
	p1, err := w.refresh(p0.GetRefreshToken())
	wantReason(t, "refresh", err, "")
	if p0.GetExpiresIn() != 600 || p1.GetExpiresIn() != 600 {
		t.Errorf("expires in = %d after log-in, %d after refresh; want 600 s", p0.GetExpiresIn(), p1.GetExpiresIn())
	}
}

func TestRefreshTooLate(t *testing.T) {
	w := newWorld(t)
	w.register("ann")
	p0 := w.login("ann", "d1")
	_, err := w.refresh(p0.GetRefreshToken())
	wantReason(t, "first use", err, "")
	w.clock.advance(61 * time.Second)
	_, err = w.refresh(p0.GetRefreshToken())
	wantReason(t, "the one before, after 61 s", err, fault.RefreshReused)
	_, err = w.refresh(p0.GetRefreshToken())
	wantReason(t, "once more", err, fault.SessionEnded)
}

func TestRefreshBadTokens(t *testing.T) {
	w := newWorld(t)
	w.register("ann")
	p := w.login("ann", "d1")
	good := p.GetRefreshToken()
	parts := strings.Split(good, ".")
	tests := []struct {
		name, token string
		want        fault.Reason
	}{
		{"none", "", fault.TokenMissing},
		{"no token", "abc", fault.TokenInvalid},
		{"access token", p.GetAccessToken(), fault.TokenInvalid},
		{"another generation", parts[0] + ".7." + parts[2], fault.TokenInvalid},
		{"another session", "other.0." + parts[2], fault.TokenInvalid},
		{"cut off", good[:len(good)-1], fault.TokenInvalid},
		{"huge", strings.Repeat("x", 100_000), fault.TokenInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.refresh(tt.token)
			wantReason(t, "refresh", err, tt.want)
		})
	}
	_, err := w.refresh(good)
	wantReason(t, "the good one after all of these", err, "")
}

// Fifty tabs that refresh at once all get the same pair.
func TestConcurrentRefresh(t *testing.T) {
	w := newWorld(t)
	w.register("ann")
	p := w.login("ann", "d1")
	for round := range 3 {
		w.clock.advance(time.Second)
		got := make([]*authv1.TokenResponse, 50)
		errs := make([]error, 50)
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() { got[i], errs[i] = w.refresh(p.GetRefreshToken()) })
		}
		wg.Wait()
		for i := range got {
			wantReason(t, fmt.Sprintf("round %d, tab %d", round, i), errs[i], "")
			samePair(t, fmt.Sprintf("round %d, tab %d", round, i), got[0], got[i])
		}
		if got[0].GetRefreshToken() == p.GetRefreshToken() {
			t.Fatalf("round %d: the old token again", round)
		}
		p = got[0]
	}
}

// AUTH-2: the same device ends its older session; another device does not.
func TestLoginReplacesDevice(t *testing.T) {
	w := newWorld(t)
	w.register("ann")
	w.register("bob")
	old, other, bob := w.login("ann", "d1"), w.login("ann", "d2"), w.login("bob", "d1")
	id := sessionOf(w.as(old))
	fresh := w.login("ann", "d1")
	wantReason(t, "older session", w.verify(old.GetAccessToken()), fault.SessionEnded)
	for _, r := range []*authv1.TokenResponse{fresh, other, bob} {
		wantReason(t, "others", w.verify(r.GetAccessToken()), "")
	}
	if got := w.bus.ended(); len(got) != 1 || got[0] != id || w.state(id) != faststate.Denied {
		t.Errorf("signals = %q, state %d; want %s denied", got, w.state(id), id)
	}
}

// Log-ins of one device at the same moment leave one session; the others are refused everywhere.
func TestConcurrentLogins(t *testing.T) {
	w := newWorld(t)
	w.register("ann")
	got := make([]*authv1.TokenResponse, 20)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			r, err := w.tryLogin("ann", password, "d1")
			wantReason(t, "login", err, "")
			got[i] = r
		})
	}
	wg.Wait()
	open := 0
	for _, r := range got {
		err := w.verify(r.GetAccessToken())
		if err == nil {
			open++
			continue
		}
		wantReason(t, "verify", err, fault.SessionEnded)
	}
	if open != 1 {
		t.Errorf("%d of 20 sessions of one device are open; want 1", open)
	}
}

func TestSessionLimit(t *testing.T) {
	w := newWorld(t, func(c *auth.Config) { c.MaxSessions = 3 })
	w.register("ann")
	var all []*authv1.TokenResponse
	for i := range 5 {
		w.clock.advance(time.Second)
		all = append(all, w.login("ann", fmt.Sprintf("d%d", i)))
	}
	for i, r := range all {
		want := fault.Reason("")
		if i < 2 {
			want = fault.SessionEnded
		}
		wantReason(t, fmt.Sprintf("session %d", i), w.verify(r.GetAccessToken()), want)
	}
}

func TestListAndRevokeSessions(t *testing.T) {
	w := newWorld(t)
	w.register("ann")
	w.register("bob")
	var want []string
	var ann *authv1.TokenResponse
	for i := range 5 {
		w.clock.advance(time.Second)
		ann = w.login("ann", fmt.Sprintf("d%d", i))
		want = append([]string{sessionOf(w.as(ann))}, want...)
	}
	bob := w.login("bob", "d1")
	var got []string
	size, token := int32(2), ""
	for {
		r, err := w.pub.ListSessions(w.as(ann), &authv1.ListSessionsRequest{PageSize: &size, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range r.GetSessions() {
			got = append(got, s.GetSessionId())
			if s.GetCurrent() != (s.GetSessionId() == want[0]) || s.GetPlatform() != authv1.Platform_PLATFORM_WEB || s.GetDeviceId() == "" {
				t.Errorf("session %v: wrong fields", s)
			}
		}
		if token = r.GetNextPageToken(); token == "" {
			break
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("ListSessions (-want +got):\n%s", d)
	}
	revoke := func(r *authv1.TokenResponse, id string) error {
		_, err := w.pub.RevokeSession(w.as(r), &authv1.RevokeSessionRequest{SessionId: id})
		return err
	}
	wantReason(t, "somebody else's", revoke(bob, want[1]), fault.NotFoundReason)
	wantReason(t, "unknown", revoke(bob, "nothing"), fault.NotFoundReason)
	wantReason(t, "own", revoke(ann, want[1]), "")
	wantReason(t, "own again", revoke(ann, want[1]), fault.NotFoundReason)
	if w.state(want[1]) != faststate.Denied || w.state(want[2]) != faststate.Allowed {
		t.Error("want exactly the revoked session denied")
	}
	ctx := w.as(ann)
	for range 2 {
		_, err := w.pub.Logout(ctx, &authv1.LogoutRequest{})
		wantReason(t, "logout", err, "")
	}
	wantReason(t, "verify after logout", w.verify(ann.GetAccessToken()), fault.SessionEnded)
}

// The database decides what the allow-list has lost, and what it says is put on the list again; keys survive.
func TestAllowListIsRebuilt(t *testing.T) {
	w := newWorld(t)
	w.register("ann")
	open, over := w.login("ann", "d1"), w.login("ann", "d2")
	openID, overID := sessionOf(w.as(open)), sessionOf(w.as(over))
	if _, err := w.pub.Logout(w.as(over), &authv1.LogoutRequest{}); err != nil {
		t.Fatal(err)
	}
	w.restart()
	if w.state(openID) != faststate.Unknown || w.state(overID) != faststate.Unknown {
		t.Fatal("the list of a fresh process is not empty")
	}
	r, err := w.internal.CheckSessions(t.Context(), &authv1.CheckSessionsRequest{SessionIds: []string{overID, openID, "nothing"}})
	if err != nil || len(r.GetOpenSessionIds()) != 1 || r.GetOpenSessionIds()[0] != openID {
		t.Errorf("CheckSessions = %v, %v; want the open one", r, err)
	}
	if w.state(openID) != faststate.Allowed || w.state(overID) != faststate.Unknown {
		t.Error("want the open session on the list, and only that")
	}
	w.restart()
	wantReason(t, "verify after another restart", w.verify(open.GetAccessToken()), "")
	wantReason(t, "verify of the ended one", w.verify(over.GetAccessToken()), fault.SessionEnded)
	_, err = w.refresh(open.GetRefreshToken())
	wantReason(t, "refresh after a restart", err, "")
	_, err = w.internal.CheckSessions(t.Context(), &authv1.CheckSessionsRequest{SessionIds: make([]string, 10_001)})
	wantReason(t, "too many", err, fault.InvalidFieldReason)
}

func TestVerifyBadTokens(t *testing.T) {
	w := newWorld(t)
	w.register("ann")
	p := w.login("ann", "d1")
	wantReason(t, "none", w.verify(""), fault.TokenMissing)
	wantReason(t, "garbage", w.verify("a.b.c"), fault.TokenInvalid)
	wantReason(t, "refresh token", w.verify(p.GetRefreshToken()), fault.TokenInvalid)
	w.clock.advance(11 * time.Minute)
	wantReason(t, "expired", w.verify(p.GetAccessToken()), fault.TokenExpired)
	keys, err := w.internal.GetKeys(t.Context(), &authv1.GetKeysRequest{})
	if err != nil || !strings.Contains(string(keys.GetJwks()), `"Ed25519"`) || strings.Contains(string(keys.GetJwks()), `"d":`) {
		t.Errorf("GetKeys = %s, %v; want a public key", keys.GetJwks(), err)
	}
}
