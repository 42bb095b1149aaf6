package user_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
)

func describe(r *userv1.GetRelationResponse) string {
	var s strings.Builder
	add := func(name string, is bool) {
		if is {
			s.WriteString(name + " ")
		}
	}
	add("exists", r.GetTargetExists())
	add("friends", r.GetFriends())
	add("blocked", r.GetBlocked())
	add("blocks", r.GetBlocks())
	add("write", r.GetMayWrite())
	add("seen", r.GetSeesLastSeen())
	for _, w := range r.GetWithheld() {
		fmt.Fprintf(&s, "%d-%d ", w.GetFrom(), w.GetTo())
	}
	return s.String()
}

// USER-2: the decision follows every change at once, with the answers cached in between.
func TestRelation(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	set := func(u string, r *userv1.UpdateSettingsRequest) func() error {
		return func() error { _, err := w.pub.UpdateSettings(w.as(u), r); return err }
	}
	head := func(n uint64) func() error {
		return func() error { w.messages.setHead("d~ann~bob", n); return nil }
	}
	steps := []struct {
		name     string
		do       func() error
		ann, bob string // ann to bob, bob to ann
	}{
		{"strangers", head(0), "exists write ", "exists write "},
		{"bob takes friends only", set("bob", &userv1.UpdateSettingsRequest{WhoMayWrite: friends.Enum()}), "exists ", "exists write "},
		{"bob shows last seen to all", set("bob", &userv1.UpdateSettingsRequest{LastSeen: everyone.Enum()}), "exists seen ", "exists write "},
		{"request", func() error { return w.request("ann", "bob", "") }, "exists seen ", "exists write "},
		{"accept", func() error { return w.accept("bob", "ann") }, "exists friends write seen ", "exists friends write seen "},
		{"bob hides last seen", set("bob", &userv1.UpdateSettingsRequest{LastSeen: nobody.Enum()}), "exists friends write ", "exists friends write seen "},
		{"bob blocks before any message", func() error { return w.block("bob", "ann") }, "exists friends blocked 1-0 ", "exists friends blocks write seen "},
		{"and again", func() error { return w.block("bob", "ann") }, "exists friends blocked 1-0 ", "exists friends blocks write seen "},
		{"bob unblocks, nothing came", func() error { return w.unblock("bob", "ann") }, "exists friends write ", "exists friends write seen "},
		{"messages", head(7), "exists friends write ", "exists friends write seen "},
		{"bob blocks", func() error { return w.block("bob", "ann") }, "exists friends blocked 8-0 ", "exists friends blocks write seen "},
		{"two were in flight", head(9), "exists friends blocked 8-0 ", "exists friends blocks write seen "},
		{"bob unblocks", func() error { return w.unblock("bob", "ann") }, "exists friends write 8-9 ", "exists friends write seen "},
		{"and again", func() error { return w.unblock("bob", "ann") }, "exists friends write 8-9 ", "exists friends write seen "},
		{"bob blocks at the same head", func() error { return w.block("bob", "ann") }, "exists friends blocked 8-0 ", "exists friends blocks write seen "},
		{"and unblocks", func() error { return w.unblock("bob", "ann") }, "exists friends write 8-9 ", "exists friends write seen "},
		{"more messages", head(20), "exists friends write 8-9 ", "exists friends write seen "},
		{"both block", func() error { _ = w.block("ann", "bob"); return w.block("bob", "ann") }, "exists friends blocked blocks 8-9 21-0 ", "exists friends blocked blocks 21-0 "},
		{"ann unblocks", func() error { return w.unblock("ann", "bob") }, "exists friends blocked 8-9 21-0 ", "exists friends blocks write seen "},
		{"removed", func() error {
			_, err := w.pub.RemoveFriend(w.as("ann"), &userv1.RemoveFriendRequest{UserId: "bob"})
			return err
		}, "exists blocked 8-9 21-0 ", "exists blocks write "},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		for range 2 { // the second answer is a cached one
			if got := describe(w.relation("ann", "bob")); got != s.ann {
				t.Errorf("%s: ann to bob = %q; want %q", s.name, got, s.ann)
			}
			if got := describe(w.relation("bob", "ann")); got != s.bob {
				t.Errorf("%s: bob to ann = %q; want %q", s.name, got, s.bob)
			}
		}
	}
	if got := describe(w.relation("ann", "ann")); got != "exists seen " {
		t.Errorf("ann to herself = %q; want exists seen", got)
	}
}

// An unknown user is cached too, and known as soon as there is one.
func TestRelationToNobody(t *testing.T) {
	w := newWorld(t, "ann")
	for range 2 {
		if got := describe(w.relation("ann", "bob")); got != "" {
			t.Fatalf("ann to nobody = %q; want nothing", got)
		}
	}
	w.create("bob", "")
	if got := describe(w.relation("ann", "bob")); got != "exists write " {
		t.Errorf("ann to bob = %q; want exists write", got)
	}
}

// Invariant 6: what is cached touches no database.
func TestCachedRelationReadsNothing(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	w.relation("ann", "bob")
	before := w.reads.Load()
	for range 100 {
		w.relation("ann", "bob")
	}
	if got := w.reads.Load() - before; got != 0 {
		t.Errorf("100 cached answers took %d reads; want 0", got)
	}
}

// A reader that was overtaken by a change does not put back what it read before.
func TestOvertakenReaderCachesNothing(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	var once sync.Once
	w.rels.after = func() {
		once.Do(func() {
			if err := w.block("bob", "ann"); err != nil {
				t.Error(err)
			}
		})
	}
	w.relation("ann", "bob") // may still say what was so when it began
	if r := w.relation("ann", "bob"); !r.GetBlocked() || r.GetMayWrite() {
		t.Errorf("after the block: %q; want blocked", describe(r))
	}
}

// Without the cache the database answers, and a change that could not be dropped says so and can be repeated.
func TestCacheDown(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	w.cache.down.Store(true)
	if got := describe(w.relation("ann", "bob")); got != "exists write " {
		t.Errorf("without the cache = %q; want exists write", got)
	}
	w.cache.down.Store(false)
	w.relation("ann", "bob")
	w.cache.noDrop.Store(true)
	wantReason(t, "block without drop", w.block("bob", "ann"), fault.OutcomeUnknown)
	w.cache.noDrop.Store(false)
	wantReason(t, "block repeated", w.block("bob", "ann"), "")
	if r := w.relation("ann", "bob"); !r.GetBlocked() {
		t.Errorf("after the repetition: %q; want blocked", describe(r))
	}
}

// Blocking and unblocking by turns does not grow without bound.
func TestWithheldRangesAreBounded(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	for i := range uint64(100) {
		w.messages.setHead("d~ann~bob", 10*i+1)
		wantReason(t, "block", w.block("bob", "ann"), "")
		w.messages.setHead("d~ann~bob", 10*i+2)
		wantReason(t, "unblock", w.unblock("bob", "ann"), "")
	}
	rs := w.relation("ann", "bob").GetWithheld()
	if len(rs) > 64 || rs[0].GetFrom() != 2 || rs[len(rs)-1].GetTo() != 992 {
		t.Errorf("withheld = %v; want at most 64 that reach from 2 to 992", rs)
	}
}

// Settings are the user's own: no public answer about another user carries them, and a list of blocks is one's own.
func TestBlocksArePrivate(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	wantReason(t, "block", w.block("bob", "ann"), "")
	mine, err := w.pub.ListBlocks(w.as("bob"), &userv1.ListBlocksRequest{})
	if err != nil || len(mine.GetUsers()) != 1 {
		t.Errorf("bob's blocks = %v, %v; want ann", mine, err)
	}
	theirs, err := w.pub.ListBlocks(w.as("ann"), &userv1.ListBlocksRequest{})
	if d := cmp.Diff(0, len(theirs.GetUsers())); d != "" || err != nil {
		t.Errorf("ann's blocks = %v, %v; want none", theirs, err)
	}
	seen, err := w.pub.Get(w.as("ann"), &userv1.GetRequest{UserId: "bob"})
	if err != nil || seen.GetUser().GetUserId() != "bob" {
		t.Errorf("Get of who blocks = %v, %v; want bob as before", seen, err)
	}
}
