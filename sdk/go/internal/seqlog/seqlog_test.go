package seqlog_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/sdk/go/internal/seqlog"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

func entry(seq uint64) *messagev1.Entry { return &messagev1.Entry{ConversationId: "g~1", Seq: seq} }

func seqs(entries []*messagev1.Entry) []uint64 {
	out := []uint64{}
	for _, e := range entries {
		out = append(out, e.GetSeq())
	}
	return out
}

func run(from, to uint64) []*messagev1.Entry {
	var out []*messagev1.Entry
	for seq := from; seq <= to; seq++ {
		out = append(out, entry(seq))
	}
	return out
}

// step is one call and what it must apply.
type step struct {
	name string
	do   func(l *seqlog.Log) []*messagev1.Entry
	want []uint64
}

func offer(seq uint64, want ...uint64) step {
	return step{"offer", func(l *seqlog.Log) []*messagev1.Entry { return l.Offer(entry(seq)) }, append([]uint64{}, want...)}
}

func told(head uint64, want ...uint64) step {
	return step{"told", func(l *seqlog.Log) []*messagev1.Entry { return l.Told(head, entry(head)) }, append([]uint64{}, want...)}
}

func page(after, to uint64, want ...uint64) step {
	return step{"page", func(l *seqlog.Log) []*messagev1.Entry { return l.Page(after, to, run(after+1, to)) }, append([]uint64{}, want...)}
}

func skip(want ...uint64) step {
	return step{"skip", (*seqlog.Log).Skip, append([]uint64{}, want...)}
}

func cut(last uint64) step {
	return step{"truncate", func(l *seqlog.Log) []*messagev1.Entry { l.Truncate(last); return nil }, []uint64{}}
}

func note(seq uint64) step {
	return step{"note", func(l *seqlog.Log) []*messagev1.Entry { l.Note(seq); return nil }, []uint64{}}
}

func TestLog(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		held  store.Ranges
		head  uint64
		steps []step
		end   uint64
		hole  bool
		want  store.Ranges
	}{
		{name: "in order", steps: []step{offer(1, 1), offer(2, 2)}, end: 2, want: spans(1, 2)},
		{name: "doubles", steps: []step{offer(1, 1), offer(1), offer(2, 2), offer(1)}, end: 2, want: spans(1, 2)},
		{name: "overtaken", steps: []step{offer(1, 1), offer(3), offer(2, 2, 3)}, end: 3, want: spans(1, 3)},
		{name: "the first one seen is the edge", steps: []step{offer(7, 7), offer(6, 6)}, end: 7, want: spans(6, 7)},
		{name: "a hole", steps: []step{offer(1, 1), offer(4), offer(4)}, end: 1, hole: true, want: spans(1, 1)},
		{name: "a hole filled", steps: []step{offer(1, 1), offer(4), page(1, 3, 2, 3, 4)}, end: 4, want: spans(1, 4)},
		{name: "the page knows what was kept", steps: []step{offer(1, 1), offer(3), page(1, 3, 2, 3)}, end: 3, want: spans(1, 3)},
		{name: "a late page", steps: []step{offer(1, 1), offer(2, 2), page(0, 2)}, end: 2, want: spans(1, 2)},
		{name: "sync tells the next", held: spans(1, 5), head: 5, steps: []step{told(6, 6)}, end: 6, want: spans(1, 6)},
		{name: "sync tells of a hole", held: spans(1, 5), head: 5, steps: []step{told(8)}, end: 5, hole: true, want: spans(1, 5)},
		{name: "too wide a hole", held: spans(1, 5), head: 5, steps: []step{told(306, 306), offer(307, 307)}, end: 307, want: spans(1, 5, 306, 307)},
		{name: "too wide by push", held: spans(1, 5), head: 5, steps: []step{offer(7), offer(306, 7, 306)}, end: 306, want: spans(1, 5, 7, 7, 306, 306)},
		{name: "nothing held", head: 9, steps: []step{told(9, 9), offer(10, 10)}, end: 10, want: spans(9, 10)},
		{name: "given up", steps: []step{offer(1, 1), offer(4), skip(4)}, end: 4, want: spans(1, 1, 4, 4)},
		{name: "given up with nothing kept", held: spans(1, 2), steps: []step{{"told", func(l *seqlog.Log) []*messagev1.Entry { return l.Told(5, nil) }, []uint64{}}, skip()}, end: 5, want: spans(1, 2)},
		{name: "taken back", steps: []step{offer(1, 1), offer(2, 2), offer(3, 3), cut(1), offer(2, 2)}, end: 2, want: spans(1, 2)},
		{name: "taken back, and noted meanwhile", steps: []step{offer(1, 1), offer(2, 2), note(3), cut(1)}, end: 1, hole: true, want: spans(1, 1)},
		{name: "an entry without a seq", steps: []step{offer(0)}, end: 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := seqlog.New(tt.held, tt.head)
			for i, s := range tt.steps {
				if d := cmp.Diff(s.want, seqs(s.do(l))); d != "" {
					t.Errorf("step %d, %s: applied (-want +got):\n%s", i+1, s.name, d)
				}
			}
			if d := cmp.Diff(tt.want, l.Held()); d != "" || l.End() != tt.end {
				t.Errorf("End() = %d, Held() (-want +got):\n%s; want %d", l.End(), d, tt.end)
			}
			if _, hole := l.Hole(); hole != tt.hole {
				t.Errorf("Hole() = %v; want %v", hole, tt.hole)
			}
		})
	}
}

func TestBufferIsBounded(t *testing.T) {
	t.Parallel()
	l := seqlog.New(nil, 1)
	for seq := uint64(3); seq <= 301; seq++ {
		l.Offer(entry(seq))
	}
	if got := len(l.Offer(entry(2))); got != 1+seqlog.MaxBuffer {
		t.Errorf("entries applied after the hole was filled = %d; want %d", got, 1+seqlog.MaxBuffer)
	}
	if after, ok := l.Hole(); !ok || after != 2+seqlog.MaxBuffer {
		t.Errorf("Hole() = %d, %v; want %d, true: what was dropped is pulled", after, ok, 2+seqlog.MaxBuffer)
	}
}

// Any order of arrival, with losses, doubles and pulls, gives the same: every entry applied once, those above the first
// sync in order, and nothing missing.
func TestAnyOrderGivesTheSame(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := 1 + rng.Uint64N(250)
		l := seqlog.New(nil, 1) // as if a sync told of the first
		l.Offer(entry(1))
		var arrivals []uint64
		for seq := uint64(2); seq <= n; seq++ {
			for range rng.IntN(3) { // lost, once or twice
				arrivals = append(arrivals, seq)
			}
		}
		rng.Shuffle(len(arrivals), func(i, j int) { arrivals[i], arrivals[j] = arrivals[j], arrivals[i] })
		applied := []uint64{1}
		pull := func() {
			if after, ok := l.Hole(); ok {
				to := min(after+1+rng.Uint64N(40), n)
				applied = append(applied, seqs(l.Page(after, to, run(after+1, to)))...)
			}
		}
		for _, seq := range arrivals {
			applied = append(applied, seqs(l.Offer(entry(seq)))...)
			if rng.IntN(10) == 0 {
				pull()
			}
		}
		applied = append(applied, seqs(l.Told(n, nil))...)
		for _, ok := l.Hole(); ok; _, ok = l.Hole() {
			pull()
		}
		if want := seqs(run(1, n)); !slices.Equal(applied, want) {
			t.Fatalf("seed %d: applied %d; want 1 to %d in order", seed, applied, n)
		}
		if d := cmp.Diff(spans(1, n), l.Held()); d != "" {
			t.Fatalf("seed %d: held (-want +got):\n%s", seed, d)
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
