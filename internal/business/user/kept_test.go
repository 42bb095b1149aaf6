package user_test

import (
	"testing"
	"time"

	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
)

// Those who wrote to each other may go on while the database is away, long after what was cached has to be read again,
// and delivery still learns what is withheld.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		away func(*away)
	}{
		{"fails", func(a *away) { a.fails.Store(true) }},
		{"hangs", func(a *away) { a.hangs.Store(true) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "ann", "bob", "cid")
			w.messages.setHead("d~ann~bob", 7)
			wantReason(t, "block", w.block("bob", "ann"), "")
			w.relation("ann", "bob")
			w.relation("bob", "ann")
			tt.away(w.away)
			w.ahead.Store(int64(23 * time.Hour))
			before := w.reads.Load()
			for range 100 {
				if got, want := describe(w.relation("ann", "bob")), "exists blocked 8-0 "; got != want {
					t.Fatalf("ann to bob = %q; want %q, as before", got, want)
				}
				if got, want := describe(w.relation("bob", "ann")), "exists blocks write "; got != want {
					t.Fatalf("bob to ann = %q; want %q, as before", got, want)
				}
			}
			if n := w.reads.Load() - before; n > 100 {
				t.Errorf("600 values were answered with %d attempts to read; want a few", n)
			}
			if tt.name == "fails" { // what is not known cannot be made up
				if r, err := w.internal.GetRelation(t.Context(), &userv1.GetRelationRequest{ActorId: "ann", TargetId: "cid"}); err == nil {
					t.Errorf("GetRelation of what was never asked = %v; want an error", r)
				}
			}
		})
	}
}

// Once the database is back its answers count, also when the drop of a change was lost before it went away.
func TestDatabaseBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ann", "bob")
	w.relation("ann", "bob")
	w.cache.noDrop.Store(true)
	_ = w.block("bob", "ann") // it is stored, and the answer says that not all may see it
	w.cache.noDrop.Store(false)
	w.away.fails.Store(true)
	w.ahead.Store(int64(2 * time.Minute))
	if got, want := describe(w.relation("ann", "bob")), "exists write "; got != want {
		t.Errorf("while it is away: %q; want %q", got, want)
	}
	w.away.fails.Store(false)
	eventually(t, "the block is seen", func() bool { return w.relation("ann", "bob").GetBlocked() })
	w.away.fails.Store(true)
	w.ahead.Store(int64(4 * time.Minute))
	if r := w.relation("ann", "bob"); !r.GetBlocked() {
		t.Errorf("away once more: %q; want blocked, as it was read last", describe(r))
	}
}

// What changes is dropped wherever it is kept.
func TestChangeDropsWhatIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ann", "bob")
	w.relation("ann", "bob")
	wantReason(t, "block", w.block("bob", "ann"), "")
	w.away.fails.Store(true)
	r, err := w.internal.GetRelation(t.Context(), &userv1.GetRelationRequest{ActorId: "ann", TargetId: "bob"})
	if err == nil {
		t.Errorf("GetRelation = %q; want an error: what was kept is from before the block", describe(r))
	}
}
