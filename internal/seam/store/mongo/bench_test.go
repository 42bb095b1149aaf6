package mongo_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// BenchmarkStore stores batches of 256 entries of 300 bytes in 64 conversations. Against the stand-in it shows the cost of
// this side only: the stand-in keeps everything in memory.
func BenchmarkStore(b *testing.B) {
	db := openDB(b, fresh(b))
	seqs := make(map[chat.ConversationID]uint64)
	var from store.Mark
	n := 0
	for b.Loop() {
		n++
		batch := store.Batch{From: from, To: store.Mark{Incarnation: "a", Position: uint64(n)}}
		for i := range 256 {
			c := chat.ConversationID(fmt.Sprint("g~", i%64))
			seqs[c]++
			batch.Entries = append(batch.Entries, store.Entry{
				ConversationID: c, Seq: seqs[c], Ordinal: seqs[c], SenderID: "ann", SentAt: time.Now(), Kind: 1,
				Dedupe: uint64(n)<<32 | uint64(i), Data: make([]byte, 300),
			})
		}
		for c, seq := range seqs {
			batch.Heads = append(batch.Heads, store.Head{ConversationID: c, Seq: seq, Ordinal: seq, Position: uint64(n)})
			batch.Read = append(batch.Read, store.CursorOf{ConversationID: c, UserID: "ann", Cursor: store.Cursor{Seq: seq, Ordinal: seq}})
		}
		must(b, db.Log().Store(b.Context(), batch))
		from = batch.To
	}
	b.ReportMetric(float64(n*256)/b.Elapsed().Seconds(), "entries/s")
}
