package auth_test

import (
	"fmt"
	"testing"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/business/auth"
	"github.com/oceanchat/oceanchat/internal/fault"
)

func seedUser(name string) auth.SeedUser {
	return auth.SeedUser{Username: name, DeviceID: "d1", Platform: authv1.Platform_PLATFORM_BOT}
}

// What Seed makes is what Register and Login would have made, events included; the hash is made once.
func TestSeed(t *testing.T) {
	w := newWorld(t)
	var users []auth.SeedUser
	for i := range 600 {
		users = append(users, seedUser(fmt.Sprintf("user%03d", i)))
	}
	got, err := w.svc.Seed(t.Context(), password, users)
	if err != nil || len(got) != len(users) {
		t.Fatalf("Seed = %d answers, %v; want %d", len(got), err, len(users))
	}
	ids := map[string]bool{}
	for i, r := range got {
		if r.GetUser().GetUsername() != users[i].Username || r.GetUser().GetNickname() != users[i].Username {
			t.Errorf("answer %d is of %v; want %s", i, r.GetUser(), users[i].Username)
		}
		ids[r.GetUser().GetUserId()] = true
	}
	if len(ids) != len(users) {
		t.Errorf("%d users have %d ids", len(users), len(ids))
	}
	one := got[17]
	wantReason(t, "verify", w.verify(one.GetAccessToken()), "")
	fresh, err := w.refresh(one.GetRefreshToken())
	wantReason(t, "refresh", err, "")
	wantReason(t, "verify after the refresh", w.verify(fresh.GetAccessToken()), "")
	if w.users.nickname(one.GetUser().GetUserId()) != "user017" {
		t.Error("want a profile for every account")
	}
	// Two for each user, in the outbox until a relay publishes them; refreshing makes none.
	if events, err := w.db.Outbox().Pending(t.Context(), 10*len(users)); err != nil || len(events) != 2*len(users) {
		t.Errorf("%d events, %v; want %d", len(events), err, 2*len(users))
	}
	w.login("user599", "d2")
	_, err = w.tryLogin("user599", "wrong "+password, "d3")
	wantReason(t, "wrong password", err, fault.BadCredentials)
	a, err := w.db.Accounts().ByUsername(t.Context(), "user000")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := w.db.Accounts().ByUsername(t.Context(), "user599"); err != nil || a.PasswordHash != b.PasswordHash {
		t.Errorf("two accounts of one Seed have hashes of their own (%v)", err)
	}
}

func TestSeedRefuses(t *testing.T) {
	w := newWorld(t)
	w.register("ann")
	tests := []struct {
		name, password string
		users          []auth.SeedUser
		want           fault.Reason
	}{
		{"short password", "short", []auth.SeedUser{seedUser("bob")}, fault.InvalidFieldReason},
		{"bad name", password, []auth.SeedUser{seedUser("bob"), seedUser("Bob!")}, fault.InvalidFieldReason},
		{"no platform", password, []auth.SeedUser{{Username: "bob", DeviceID: "d"}}, fault.InvalidFieldReason},
		{"no device", password, []auth.SeedUser{{Username: "bob", Platform: authv1.Platform_PLATFORM_BOT}}, fault.InvalidFieldReason},
		{"taken", password, []auth.SeedUser{seedUser("ann")}, fault.UsernameTaken},
		{"the same twice", password, []auth.SeedUser{seedUser("carl"), seedUser("carl")}, fault.UsernameTaken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.svc.Seed(t.Context(), tt.password, tt.users)
			wantReason(t, "Seed", err, tt.want)
		})
	}
	if _, err := w.tryLogin("bob", password, "d1"); !fault.IsReason(err, fault.BadCredentials) {
		t.Errorf("a refused Seed made bob (%v)", err)
	}
}
