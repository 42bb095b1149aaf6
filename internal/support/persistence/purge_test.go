package persistence_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/convlog/convlogtest"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/support/persistence"
)

// rounds counts the rounds of purging.
type rounds struct {
	*convlogtest.Stream
	n    atomic.Int64
	fail atomic.Bool // of Floor
}

func (r *rounds) Info(ctx context.Context) (backbone.LogInfo, error) {
	r.n.Add(1)
	return r.Stream.Info(ctx)
}

func (r *rounds) Floor(ctx context.Context, name string) (uint64, error) {
	if r.fail.Load() {
		return 0, errors.New("down")
	}
	return r.Stream.Floor(ctx, name)
}

// pass waits until whole rounds have run.
func (r *rounds) pass(t *testing.T) {
	t.Helper()
	until := r.n.Load() + 3
	eventually(t, "rounds of purging pass", func() bool { return r.n.Load() >= until })
}

func (r *rounds) first(t *testing.T) uint64 {
	t.Helper()
	info, err := r.Stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.First
}

// L8, and retention: a batch goes when it is stored, every other reader has passed it, and it is old; when space runs
// short, age does not protect it any more, but the readers do. Of ten batches the first six are old.
func TestPurge(t *testing.T) {
	t.Parallel()
	const size = 100 // at least, of all batches together
	for _, tt := range []struct {
		name   string
		floors map[string]uint64 // of orchestrator and a second reader
		max    uint64
		want   uint64 // the first that stays
	}{
		{"old ones go", map[string]uint64{"orchestrator": 10, "other": 10}, 0, 7},
		{"not delivered stays", map[string]uint64{"orchestrator": 4, "other": 10}, 0, 5},
		{"not seen by the second stays", map[string]uint64{"orchestrator": 10, "other": 3}, 0, 4},
		{"a reader that never was", map[string]uint64{"orchestrator": 10}, 0, 1},
		{"room enough", map[string]uint64{"orchestrator": 10, "other": 10}, 1 << 30, 7},
		{"full", map[string]uint64{"orchestrator": 10, "other": 10}, size, 11},
		{"full, not delivered stays", map[string]uint64{"orchestrator": 8, "other": 9}, size, 9},
		{"full, nothing delivered", nil, size, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			db, s := openDB(t), &rounds{Stream: convlogtest.NewStream("a")}
			adopt(t, db.Log(), 0, s)
			for seq := uint64(1); seq <= 10; seq++ {
				at := time.Now()
				if seq <= 6 {
					at = at.Add(-25 * time.Hour)
				}
				s.Put(encode(t, text(team, seq, "ann")), at)
			}
			s.SetMaxBytes(tt.max)
			for r, floor := range tt.floors {
				s.SetFloor(r, floor)
			}
			keep := persistence.Retention{Keep: 24 * time.Hour, Others: []string{"orchestrator", "other"}}
			w := run(t, config(), keep, db.Log(), s)
			eventually(t, "all is stored", func() bool { return position(t, db.Log(), 0) == 10 })
			eventually(t, "what may go is gone", func() bool { return s.first(t) >= tt.want })
			s.pass(t)
			if got := s.first(t); got != tt.want {
				t.Errorf("the log begins at %d; want %d", got, tt.want)
			}
			if tt.max > 0 {
				if used := w.metric("log_used_ratio"); used < 0 || tt.max > 1<<20 && used > 0.01 {
					t.Errorf("log_used_ratio = %v of %d bytes", used, tt.max)
				}
			}
		})
	}
}

// What is not stored stays, however full and old: the writer is behind.
func TestPurgeNotStored(t *testing.T) {
	t.Parallel()
	db, s := openDB(t), &rounds{Stream: convlogtest.NewStream("a")}
	adopt(t, db.Log(), 0, s)
	s.SetMaxBytes(1)
	spy := newDatabase(db.Log())
	keep := persistence.Retention{Others: []string{"orchestrator"}}
	s.SetFloor("orchestrator", 99)
	old := time.Now().Add(-time.Hour)
	s.Put(encode(t, text(team, 1, "ann")), old)
	w := run(t, config(), keep, spy, s)
	eventually(t, "the stored one goes", func() bool { return s.first(t) == 2 })
	spy.mu.Lock()
	spy.fail = func(int) (before, after error) { return errors.New("down"), nil }
	spy.mu.Unlock()
	s.Put(encode(t, text(team, 2, "ann")), old)
	eventually(t, "the writer fails", func() bool { return w.metric("failures_total") > 2 })
	s.pass(t)
	if got := s.first(t); got != 2 {
		t.Errorf("the log begins at %d; want 2", got)
	}
	s.fail.Store(true) // and a floor that cannot be read counts as none
	spy.mu.Lock()
	spy.fail = nil
	spy.mu.Unlock()
	eventually(t, "it is stored", func() bool { return position(t, db.Log(), 0) == 2 })
	s.pass(t)
	if got := s.first(t); got != 2 {
		t.Errorf("the log begins at %d while no floor can be read; want 2", got)
	}
	s.fail.Store(false)
	eventually(t, "it goes", func() bool { return s.first(t) == 3 })
}

// A hole in one partition stops purging in all of them.
func TestHaltStopsAllPurging(t *testing.T) {
	t.Parallel()
	db := openDB(t)
	bad, good := &rounds{Stream: convlogtest.NewStream("a")}, &rounds{Stream: convlogtest.NewStream("b")}
	adopt(t, db.Log(), 0, bad)
	adopt(t, db.Log(), 1, good)
	old := time.Now().Add(-time.Hour)
	bad.Put(encode(t, text(team, 2, "ann")), old)
	w := run(t, config(), persistence.Retention{}, db.Log(), bad, good)
	eventually(t, "purging is halted", func() bool { return w.metric("purging_halted") == 1 })
	good.Put(encode(t, text(direct, 1, "ann")), old)
	eventually(t, "the other partition is stored", func() bool { return position(t, db.Log(), 1) == 1 })
	good.pass(t)
	if bad.first(t) != 1 || good.first(t) != 1 {
		t.Errorf("the logs begin at %d and %d; want 1, 1", bad.first(t), good.first(t))
	}
}

// L5: a hole stops purging in every instance, also in those that do not read the partition with the hole, and until its
// storing goes on.
func TestHaltStopsOtherInstances(t *testing.T) {
	t.Parallel()
	db := openDB(t)
	bad, good := &rounds{Stream: convlogtest.NewStream("a")}, &rounds{Stream: convlogtest.NewStream("b")}
	adopt(t, db.Log(), 0, bad)
	adopt(t, db.Log(), 1, good)
	old := time.Now().Add(-time.Hour)
	bad.Put(encode(t, text(team, 1, "ann")), old)
	bad.Put(encode(t, text(team, 3, "ann")), old)
	first := run(t, config(), persistence.Retention{}, db.Log(), bad, good)
	eventually(t, "one instance meets the hole", func() bool { return first.metric("purging_halted") == 1 })
	eventually(t, "and has read on behind it", func() bool {
		floor, err := bad.Stream.Floor(t.Context(), persistence.Reader)
		return err == nil && floor == 2
	})

	// The other instance reads neither partition: it waits for the pin.
	waiting, others := make([]backbone.Log, 2), []*rounds{bad, good}
	for i, s := range others {
		waiting[i] = unpinned{s}
	}
	second := run(t, config(), persistence.Retention{}, db.Log(), waiting...)
	good.Put(encode(t, text(direct, 1, "ann")), old)
	eventually(t, "the other partition is stored", func() bool { return position(t, db.Log(), 1) == 1 })
	eventually(t, "the other instance knows", func() bool { return second.metric("purging_halted") == 1 })
	first.stop()
	good.pass(t)
	if bad.first(t) != 1 || good.first(t) != 1 {
		t.Errorf("the logs begin at %d and %d; want 1, 1", bad.first(t), good.first(t))
	}
	bad.SetFloor(persistence.Reader, 1) // set back, as by a writer that starts
	eventually(t, "purging goes on", func() bool { return good.first(t) == 2 && second.metric("purging_halted") == 0 })
}

// unpinned is a log that another instance reads.
type unpinned struct{ *rounds }

func (unpinned) Follow(ctx context.Context, _ backbone.Reader) error {
	<-ctx.Done()
	return nil
}
