package backbonetest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// testKeeper checks backbone.Keeper. Nothing is open meanwhile that it changes.
func testKeeper(t *testing.T, open Opener) {
	b, _ := open(t, t.TempDir())
	k, ok := b.(backbone.Keeper)
	if !ok {
		t.Fatalf("%T is no Keeper", b)
	}
	wantLogs := func(step string, want map[int]int) {
		t.Helper()
		eventually(t, step, func() bool { // servers of a cluster hear of it one after another
			got, err := k.Logs(t.Context())
			return err == nil && cmp.Equal(want, got)
		})
	}
	wantLogs("none at first", map[int]int{})
	for p := range 2 {
		if err := k.Declare(t.Context(), p, 2); err != nil {
			t.Fatalf("Declare(%d, 2) = %v", p, err)
		}
	}
	wantLogs("made", map[int]int{0: 2, 1: 2})
	l, err := b.Log(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 0, 3)
	before := info(t, l)
	for range 2 {
		if err := k.Declare(t.Context(), 1, 3); err != nil {
			t.Fatalf("Declare(1, 3) = %v", err)
		}
		if err := k.Drop(t.Context(), 0); err != nil {
			t.Fatalf("Drop(0) = %v; want nil, also the second time", err)
		}
	}
	wantLogs("one is dropped, one declared anew", map[int]int{1: 3})
	if after := info(t, l); !cmp.Equal(before, after) {
		t.Errorf("Info after Declare = %+v; want %+v", after, before)
	}
	fill(t, l, 3, 1)
}
