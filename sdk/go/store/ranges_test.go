package store_test

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/sdk/go/store"
)

func TestRangesAdd(t *testing.T) {
	t.Parallel()
	base := spans(5, 10, 20, 30)
	tests := []struct {
		name     string
		from, to uint64
		want     store.Ranges
	}{
		{"before", 1, 3, spans(1, 3, 5, 10, 20, 30)},
		{"touching below", 1, 4, spans(1, 10, 20, 30)},
		{"inside", 6, 7, base},
		{"between", 12, 18, spans(5, 10, 12, 18, 20, 30)},
		{"closing the gap", 11, 19, spans(5, 30)},
		{"over all", 1, 99, spans(1, 99)},
		{"behind", 40, 41, spans(5, 10, 20, 30, 40, 41)},
		{"touching above", 31, 31, spans(5, 10, 20, 31)},
		{"nothing", 9, 8, base},
		{"from zero", 0, 8, base},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(tt.want, base.Add(tt.from, tt.to)); d != "" {
				t.Errorf("Add(%d, %d) (-want +got):\n%s", tt.from, tt.to, d)
			}
		})
	}
}

// Ranges are a set of numbers: they agree with a map through any changes.
func TestRangesAreASet(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	var r store.Ranges
	set := map[uint64]bool{}
	for range 2000 {
		from := 1 + rng.Uint64N(60)
		to := from + rng.Uint64N(5)
		switch rng.IntN(8) {
		case 0:
			r = r.Truncate(to)
			for seq := range set {
				if seq > to {
					delete(set, seq)
				}
			}
		case 1:
			r = r.Forget(from)
			for seq := range set {
				if seq < from {
					delete(set, seq)
				}
			}
		default:
			r = r.Add(from, to)
			for seq := from; seq <= to; seq++ {
				set[seq] = true
			}
		}
		if r.Len() != uint64(len(set)) {
			t.Fatalf("Len() of %v = %d; want %d", r, r.Len(), len(set))
		}
		for seq := uint64(1); seq < 70; seq++ {
			if r.Has(seq) != set[seq] {
				t.Fatalf("Has(%d) of %v = %v; want %v", seq, r, r.Has(seq), set[seq])
			}
		}
		for after := range uint64(70) {
			next := after + 1
			for next < 70 && !set[next] {
				next++
			}
			if got := r.Next(after); got != next && (got != 0 || next < 70) {
				t.Fatalf("Next(%d) of %v = %d; want %d", after, r, got, next)
			}
		}
		for i := 1; i < len(r); i++ {
			if r[i].From <= r[i-1].To+1 {
				t.Fatalf("%v touch each other", r)
			}
		}
	}
}

// spans makes ranges of pairs of first and last.
func spans(ends ...uint64) store.Ranges {
	var r store.Ranges
	for i := 0; i < len(ends); i += 2 {
		r = append(r, store.Range{From: ends[i], To: ends[i+1]})
	}
	return r
}
