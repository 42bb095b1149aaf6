package backbonetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// follower is a Follow under way and what it handled.
type follower struct {
	l      backbone.Log
	cancel context.CancelFunc
	ended  chan error

	mu     sync.Mutex
	seqs   []uint64 // of runs that were done
	seen   [][]uint64
	failed int
	refuse uint64 // while not 0: runs that reach it fail
	bad    string
}

// follow starts a reader; a test may change r.
func follow(t *testing.T, l backbone.Log, change func(*follower, *backbone.Reader)) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{l: l, cancel: cancel, ended: make(chan error, 1)}
	r := backbone.Reader{Name: "reader", MaxBatch: 8, Backoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond}
	r.Handle = func(_ context.Context, run []backbone.Message) error { return f.handle(run, r.MaxBatch) }
	r.Failed = func(error, int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.failed++
	}
	if change != nil {
		change(f, &r)
	}
	go func() { f.ended <- l.Follow(ctx, r) }()
	t.Cleanup(func() { f.stop(t) })
	return f
}

func (f *follower) handle(run []backbone.Message, most int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var got []uint64
	for _, m := range run {
		got = append(got, m.Seq)
		if string(m.Data) != string(text(m.Seq)) {
			f.bad = fmt.Sprintf("message %d holds %q", m.Seq, m.Data)
		}
	}
	if len(run) == 0 || len(run) > most || !slices.Equal(got, seqs(got[0], got[0]+uint64(len(got)-1))) {
		f.bad = fmt.Sprintf("run %v: not contiguous, or not 1 to %d long", got, most)
	}
	f.seen = append(f.seen, got)
	if f.refuse > 0 && got[len(got)-1] >= f.refuse {
		return errors.New("refused by the test")
	}
	f.seqs = append(f.seqs, got...)
	return nil
}

// stop ends it and waits; harmless when repeated.
func (f *follower) stop(t *testing.T) {
	t.Helper()
	f.cancel()
	if err := <-f.ended; err != nil {
		t.Errorf("Follow = %v; want nil", err)
	}
	f.ended <- nil
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bad != "" {
		t.Error(f.bad)
	}
}

func (f *follower) done() []uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seqs)
}

func (f *follower) set(refuse uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = refuse
}

func (f *follower) failures() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// wants waits until exactly want was handled, in this order and each once.
func (f *follower) wants(t *testing.T, want []uint64) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d messages handled", len(want)), func() bool { return len(f.done()) >= len(want) })
	if diff := cmp.Diff(want, f.done()); diff != "" {
		t.Errorf("handled differs (-want +got):\n%s", diff)
	}
}

func floorIs(t *testing.T, l backbone.Log, want uint64) {
	t.Helper()
	eventually(t, fmt.Sprintf("floor %d", want), func() bool {
		f, err := l.Floor(t.Context(), "reader")
		if err != nil || f > want {
			t.Fatalf("Floor = %d, %v; want %d", f, err, want)
		}
		return f == want
	})
}

func testFollow(t *testing.T, open Opener) {
	tests := []struct {
		name string
		run  func(*testing.T, backbone.Log)
	}{
		{"everything once and in order", testFollowAll},
		{"error moves nothing", testFollowError},
		{"one at a time, take-over", testTakeOver},
		{"takes over what was not finished", testTakeOverUnfinished},
		{"Start decides", testStart},
		{"Start beyond the log", testStartBeyond},
		{"Start fails first", testStartFails},
		{"purge is no hole", testFollowPurged},
		{"Start below what was purged", testStartPurged},
		{"names are apart", testFollowNames},
		{"unusable reader", testFollowUnusable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, _ := open(t, t.TempDir())
			tt.run(t, openLog(t, b))
		})
	}
	t.Run("restart goes on where it stood", func(t *testing.T) {
		testFollowRestart(t, open, nil)
	})
	t.Run("restart with Start", func(t *testing.T) {
		testFollowRestart(t, open, func(f *follower, r *backbone.Reader) {
			r.Start = func(context.Context) (uint64, error) { return 20, nil }
		})
	})
}

func testFollowAll(t *testing.T, l backbone.Log) {
	fill(t, l, 0, 50)
	f := follow(t, l, nil)
	f.wants(t, seqs(1, 50))
	fill(t, l, 50, 150)
	f.wants(t, seqs(1, 200))
	floorIs(t, l, 200)
}

func testFollowError(t *testing.T, l backbone.Log) {
	fill(t, l, 0, 20)
	f := follow(t, l, func(f *follower, _ *backbone.Reader) { f.refuse = 10 })
	eventually(t, "five failures", func() bool { return f.failures() >= 5 })
	before := f.done()
	if len(before) >= 10 {
		t.Errorf("handled %v; want nothing from 10 on", before)
	}
	f.mu.Lock()
	if a, b := f.seen[len(f.seen)-1], f.seen[len(f.seen)-2]; !slices.Equal(a, b) {
		t.Errorf("run %v came again as %v; want the same", b, a)
	}
	f.mu.Unlock()
	fill(t, l, 20, 5)
	f.set(0)
	f.wants(t, seqs(1, 25))
	floorIs(t, l, 25)
}

// testFollowRestart is the case in which a plain durable consumer goes on with new messages and
// leaves out, until much later, what it had delivered to the reader that went away.
func testFollowRestart(t *testing.T, open Opener, change func(*follower, *backbone.Reader)) {
	dir := t.TempDir()
	b, stop := open(t, dir)
	l := openLog(t, b)
	fill(t, l, 0, 20)
	f := follow(t, l, nil)
	f.wants(t, seqs(1, 20))
	floorIs(t, l, 20)
	f.set(21)
	fill(t, l, 20, 20)
	eventually(t, "failure at 21", func() bool { return f.failures() >= 2 })
	f.stop(t)
	stop()

	b, _ = open(t, dir)
	l = openLog(t, b)
	fill(t, l, 40, 10)
	f = follow(t, l, change)
	f.wants(t, seqs(21, 50))
	fill(t, l, 50, 10)
	f.wants(t, seqs(21, 60))
	floorIs(t, l, 60)
}

func testTakeOver(t *testing.T, l backbone.Log) {
	fill(t, l, 0, 10)
	a := follow(t, l, nil)
	a.wants(t, seqs(1, 10))
	floorIs(t, l, 10)
	b := follow(t, l, nil)
	fill(t, l, 10, 50)
	a.wants(t, seqs(1, 60))
	if got := b.done(); len(got) > 0 {
		t.Errorf("the second reader handled %v beside the first; want nothing", got)
	}
	a.stop(t)
	fill(t, l, 60, 20)
	b.wants(t, seqs(61, 80))
	floorIs(t, l, 80)
}

func testTakeOverUnfinished(t *testing.T, l backbone.Log) {
	a := follow(t, l, func(f *follower, _ *backbone.Reader) { f.refuse = 6 })
	fill(t, l, 0, 5)
	a.wants(t, seqs(1, 5))
	floorIs(t, l, 5)
	fill(t, l, 5, 5)
	eventually(t, "failure at 6", func() bool { return a.failures() >= 1 })
	b := follow(t, l, nil)
	a.stop(t) // no new message follows: b must fetch what a was given
	b.wants(t, seqs(6, 10))
	floorIs(t, l, 10)
}

func testStart(t *testing.T, l backbone.Log) {
	fill(t, l, 0, 30)
	for _, mark := range []uint64{0, 12, 30, 7} { // also back behind what was acknowledged
		f := follow(t, l, func(_ *follower, r *backbone.Reader) {
			r.Start = func(context.Context) (uint64, error) { return mark, nil }
		})
		last := info(t, l).Last
		fill(t, l, last, 1)
		f.wants(t, seqs(mark+1, last+1))
		floorIs(t, l, last+1)
		f.stop(t)
	}
}

func testStartBeyond(t *testing.T, l backbone.Log) {
	fill(t, l, 0, 3)
	var mu sync.Mutex
	mark := uint64(9)
	f := follow(t, l, func(_ *follower, r *backbone.Reader) {
		r.Start = func(context.Context) (uint64, error) {
			mu.Lock()
			defer mu.Unlock()
			return mark, nil
		}
	})
	eventually(t, "two failures", func() bool { return f.failures() >= 2 })
	if got := f.done(); len(got) > 0 {
		t.Errorf("handled %v with a position beyond the log; want nothing", got)
	}
	mu.Lock()
	mark = 1
	mu.Unlock()
	f.wants(t, seqs(2, 3))
}

func testStartFails(t *testing.T, l backbone.Log) {
	fill(t, l, 0, 3)
	n := 0 // Follow calls Start from one goroutine
	f := follow(t, l, func(_ *follower, r *backbone.Reader) {
		r.Start = func(context.Context) (uint64, error) {
			if n++; n < 3 {
				return 0, errors.New("database away")
			}
			return 1, nil
		}
	})
	f.wants(t, seqs(2, 3))
	if got := f.failures(); got < 2 {
		t.Errorf("Failed was called %d times; want 2 or more", got)
	}
}

func testFollowPurged(t *testing.T, l backbone.Log) {
	fill(t, l, 0, 30)
	if err := l.Purge(t.Context(), 10); err != nil {
		t.Fatalf("Purge = %v", err)
	}
	f := follow(t, l, nil)
	f.wants(t, seqs(11, 30))
	f.stop(t)
	fill(t, l, 30, 20)
	if err := l.Purge(t.Context(), 40); err != nil {
		t.Fatalf("Purge = %v", err)
	}
	f = follow(t, l, nil)
	f.wants(t, seqs(41, 50))
	if err := l.Purge(t.Context(), 50); err != nil {
		t.Fatalf("Purge = %v", err)
	}
	fill(t, l, 50, 10)
	f.wants(t, seqs(41, 60))
}

func testStartPurged(t *testing.T, l backbone.Log) {
	fill(t, l, 0, 30)
	if err := l.Purge(t.Context(), 20); err != nil {
		t.Fatalf("Purge = %v", err)
	}
	f := follow(t, l, func(_ *follower, r *backbone.Reader) {
		r.Start = func(context.Context) (uint64, error) { return 5, nil }
	})
	f.wants(t, seqs(21, 30))
	floorIs(t, l, 30)
}

func testFollowNames(t *testing.T, l backbone.Log) {
	fill(t, l, 0, 10)
	a := follow(t, l, nil)
	b := follow(t, l, func(_ *follower, r *backbone.Reader) { r.Name = "other" })
	a.wants(t, seqs(1, 10))
	b.wants(t, seqs(1, 10))
}

func testFollowUnusable(t *testing.T, l backbone.Log) {
	handle := func(context.Context, []backbone.Message) error { return nil }
	for _, r := range []backbone.Reader{{Name: "", Handle: handle}, {Name: "a.b", Handle: handle}, {Name: "a"}} {
		if err := l.Follow(t.Context(), r); err == nil {
			t.Errorf("Follow(%q) = nil; want an error", r.Name)
		}
	}
}
