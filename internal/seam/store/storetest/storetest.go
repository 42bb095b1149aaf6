// Package storetest is the conformance suite of the seam store: what every implementation must do, in one function per
// interface. It uses nothing but what the interfaces promise, so it runs over databases without transactions too.
//
// A test opens fresh, empty stores as often as it likes; the function it gets registers its own clean-up.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Stores are all parts of one database.
type Stores struct {
	Accounts   store.Accounts
	Sessions   store.Sessions
	Outbox     store.Outbox
	Keys       store.Keys
	PushTokens store.PushTokens
	Profiles   store.Profiles
	Relations  store.Relations
	Groups     store.Groups
	Members    store.Members
	Log        store.Log
	Cursors    store.Cursors
	Reader     store.Reader
}

// Open returns the parts of a fresh database, which it closes when t ends.
type Open func(t *testing.T) Stores

// Test runs all suites but TestReopen.
func Test(t *testing.T, open Open) {
	for _, s := range []struct {
		name string
		test func(*testing.T, Open)
	}{
		{"Accounts", TestAccounts},
		{"Outbox", TestOutbox},
		{"Keys", TestKeys},
		{"Sessions", TestSessions},
		{"PushTokens", TestPushTokens},
		{"Profiles", TestProfiles},
		{"Relations", TestRelations},
		{"Groups", TestGroups},
		{"Members", TestMembers},
		{"Log", TestLog},
		{"Cursors", TestCursors},
		{"Reader", TestReader},
		{"EndedContext", TestEndedContext},
	} {
		t.Run(s.name, func(t *testing.T) { s.test(t, open) })
	}
}

// odd is text that a careless implementation spoils: several scripts, composed and decomposed letters, quotes, a
// character beyond 16 bits, patterns of SQL and JSON, a line end.
const odd = "Ünï\u200b 海洋 🐋 e\u0301 'quoted' \"double\" %_ \\ $where {\"a\":1}\n; DROP TABLE x"

// racers is how many goroutines the races have.
const racers = 50

// at returns the moment n milliseconds after a fixed one. Stores keep times to the millisecond, in UTC.
func at(n int) time.Time {
	return time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC).Add(time.Duration(n) * time.Millisecond)
}

// later is a time to expire at that no test run reaches.
var later = time.Date(2199, 1, 1, 0, 0, 0, 0, time.UTC)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// got returns v of a call that must succeed.
func got[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		must(t, err)
		return v
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error = %v; want %v", what, err, want)
	}
}

// same fails if got is not want; nil and empty slices are the same.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), wholeBytes); d != "" {
		t.Fatalf("%s: (-want +got)\n%s", what, d)
	}
}

// wholeBytes compares large values at once; empty ones are left to EquateEmpty.
var wholeBytes = cmp.FilterValues(func(a, b []byte) bool { return len(a)+len(b) > 0 }, cmp.Comparer(bytes.Equal))

// sameSet is same for slices in any order.
func sameSet[T any](t *testing.T, what string, got, want []T, key func(T) string) {
	t.Helper()
	order := func(a, b T) int {
		switch x, y := key(a), key(b); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	got, want = slices.Clone(got), slices.Clone(want)
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	same(t, what, got, want)
}

// race calls fn in many goroutines at once and returns their errors.
func race(fn func(n int) error) []error {
	errs := make([]error, racers)
	gate := make(chan struct{})
	var wg sync.WaitGroup
	for n := range racers {
		wg.Go(func() {
			<-gate
			errs[n] = fn(n)
		})
	}
	close(gate)
	wg.Wait()
	return errs
}

// oneWins fails unless exactly one of errs is nil and all others are want.
func oneWins(t *testing.T, errs []error, want error) (winner int) {
	t.Helper()
	winner = -1
	for n, err := range errs {
		switch {
		case err == nil && winner >= 0:
			t.Fatalf("racers %d and %d both won; want one", winner, n)
		case err == nil:
			winner = n
		case !errors.Is(err, want):
			t.Fatalf("racer %d: error = %v; want %v", n, err, want)
		}
	}
	if winner < 0 {
		t.Fatal("no racer won; want one")
	}
	return winner
}

func noErrors(t *testing.T, errs []error) {
	t.Helper()
	must(t, errors.Join(errs...))
}

// TestEndedContext checks that what is asked with an ended context has no effect and says why.
func TestEndedContext(t *testing.T, open Open) {
	s := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, "Create", s.Profiles.Create(ctx, store.Profile{UserID: "ann", Username: "ann"}), context.Canceled)
	_, err := s.Profiles.ByUsername(ctx, "ann")
	wantErr(t, "ByUsername", err, context.Canceled)
	_, err = s.Profiles.ByUsername(t.Context(), "ann")
	wantErr(t, "ByUsername afterwards", err, store.ErrNotFound)
}
