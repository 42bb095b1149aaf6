package sqlite_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
)

// workload makes batches as the writer does: entries of 300 bytes in random direct conversations, each with its head
// and its sender's cursor.
type workload struct {
	heads []uint64
	mark  store.Mark
	rnd   *rand.Rand
	data  []byte
}

func newWorkload(conversations int) *workload {
	return &workload{heads: make([]uint64, conversations), rnd: rand.New(rand.NewPCG(1, 2)), data: make([]byte, 300)}
}

func (w *workload) batch(entries int) store.Batch {
	b := store.Batch{From: w.mark, To: store.Mark{Incarnation: "one", Position: w.mark.Position + 1}}
	w.mark = b.To
	now := time.Now()
	heads := make(map[chat.ConversationID]store.Head)
	for range entries {
		n := w.rnd.IntN(len(w.heads))
		w.heads[n]++
		seq, sender := w.heads[n], chat.UserID(fmt.Sprintf("user-%022d", n))
		c := chat.ConversationID(fmt.Sprintf("d~user-%021d~%s", n, sender))
		b.Entries = append(b.Entries, store.Entry{
			ConversationID: c, Seq: seq, Ordinal: seq, SenderID: sender, SentAt: now, Kind: 1, Dedupe: w.rnd.Uint64(), Data: w.data,
		})
		heads[c] = store.Head{ConversationID: c, Seq: seq, Ordinal: seq, SentAt: now, Position: b.To.Position}
	}
	for c, h := range heads {
		_, u := c.Users()
		b.Heads = append(b.Heads, h)
		b.Read = append(b.Read, store.CursorOf{ConversationID: c, UserID: u, Cursor: store.Cursor{Seq: h.Seq, Ordinal: h.Seq}, ChangedAt: now})
	}
	return b
}

// BenchmarkStore stores batches of 500 entries in 10,000 conversations; an operation is a batch.
func BenchmarkStore(b *testing.B) {
	db, err := sqlite.Open(filepath.Join(b.TempDir(), "bench.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	w := newWorkload(10_000)
	var spent, used time.Duration
	for b.Loop() {
		batch := w.batch(500)
		start, before := time.Now(), cpu()
		if err := db.Log().Store(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		spent += time.Since(start)
		used += cpu() - before
	}
	b.ReportMetric(float64(500*b.N)/spent.Seconds(), "entries/s")
	b.ReportMetric(float64(used.Microseconds())/float64(500*b.N), "CPU-µs/entry")
}

// BenchmarkLatest reads the newest 50 entries of random conversations with 100 each.
func BenchmarkLatest(b *testing.B) {
	db, err := sqlite.Open(filepath.Join(b.TempDir(), "bench.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	w := newWorkload(1_000)
	var ids []chat.ConversationID
	for range 200 {
		batch := w.batch(500)
		ids = append(ids, batch.Entries[0].ConversationID)
		if err := db.Log().Store(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := db.Reader().Range(b.Context(), ids[w.rnd.IntN(len(ids))], 1, 1<<62, 50, true); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAdvance moves cursors from many goroutines: what group commit gives.
func BenchmarkAdvance(b *testing.B) {
	db, err := sqlite.Open(filepath.Join(b.TempDir(), "bench.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		u := chat.UserID(chat.NewID())
		for seq := uint64(1); p.Next(); seq++ {
			if _, _, err := db.Cursors().Advance(b.Context(), "g~team", u, store.Cursor{Seq: seq}, time.Now()); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// cpu returns the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // leaves zeros, which a reader of the metric sees
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkByDedupe looks up hashes when as many entries as possible are not indexed yet.
func BenchmarkByDedupe(b *testing.B) {
	db, err := sqlite.Open(filepath.Join(b.TempDir(), "bench.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	w := newWorkload(1_000)
	var first store.Entry
	for range 33 { // the first 17 are indexed, the other 8,000 entries are not
		batch := w.batch(500)
		if first.Seq == 0 {
			first = batch.Entries[0]
		}
		if err := db.Log().Store(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if es, err := db.Log().ByDedupe(b.Context(), first.ConversationID, first.Dedupe); len(es) != 1 || err != nil {
			b.Fatalf("ByDedupe = %d entries, %v; want 1", len(es), err)
		}
	}
}
