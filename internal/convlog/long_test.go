package convlog_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/oceanchat/oceanchat/internal/app/stored"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/convlog/convlogtest"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
	"github.com/oceanchat/oceanchat/test/history"
)

// readings counts which positions are read from a stream one by one.
type readings struct {
	backbone.Log
	mu  sync.Mutex // guards got
	got map[uint64]bool
}

func (r *readings) Get(ctx context.Context, seq uint64) (backbone.Message, error) {
	r.mu.Lock()
	r.got[seq] = true
	r.mu.Unlock()
	return r.Log.Get(ctx, seq)
}

// Invariants 6 and 7: with a writer that is down for long, sends go on, all that is not stored can be read, and no more
// of it is in memory than may be. Then the writer catches up.
func TestWriterLongDown(t *testing.T) {
	t.Parallel()
	const senders, each, recent = 64, 80, 64 << 10
	db, s := openSQLite(t), &readings{Log: convlogtest.NewStream("a"), got: map[uint64]bool{}}
	l, _ := open(t, s, stored.Of(db.Log()), func(c *convlog.Config) { c.RecentBytes = recent })
	var check history.Checker
	var wg sync.WaitGroup
	for w := range senders {
		wg.Go(func() {
			for i := range each {
				e := text(fmt.Sprint("user", w), fmt.Sprint("m", i), "body")
				r, err := l.Append(t.Context(), convlog.Draft{Entry: e, Permit: convlog.Any})
				if err != nil {
					t.Errorf("Append = %v", err)
					return
				}
				check.Acked(history.Entry{
					Conversation: string(team), Seq: r.Seq, MessageID: string(r.MessageID), ClientMsgID: e.GetClientMsgId(), Sender: e.GetSenderId(),
				})
			}
		})
	}
	wg.Wait()
	for at := uint64(1); at <= senders*each; {
		tail, err := l.Tail(t.Context(), team, at, math.MaxInt64, 200, false)
		if err != nil || len(tail.Entries) == 0 || tail.From > at || tail.Head != senders*each {
			t.Fatalf("Tail from %d = %d entries, complete from %d of %d, %v", at, len(tail.Entries), tail.From, tail.Head, err)
		}
		for _, e := range tail.Entries {
			check.Received("a reader", seen(e))
			if e.GetSeq() != at {
				t.Fatalf("the tail has seq %d where %d belongs", e.GetSeq(), at)
			}
			at++
		}
	}
	inMemory := 0
	s.mu.Lock()
	err := s.Log.Read(t.Context(), 1, math.MaxUint64, func(m backbone.Message) error {
		if !s.got[m.Seq] {
			inMemory += len(m.Data)
		}
		return nil
	})
	s.mu.Unlock()
	if err != nil || inMemory > recent || inMemory == 0 {
		t.Errorf("%d bytes of what is not stored were read from memory, %v; want some, at most %d", inMemory, err, recent)
	}
	write(t, db, s)
	wantAllStored(t, db, s)
	judge(t, &check, db, team)
	eventually(t, "the tail is empty", func() bool {
		tail, err := l.Tail(t.Context(), team, 1, math.MaxInt64, 200, true)
		return err == nil && tail.Head == 0
	})
}

// L7 with real stores: the stream's files are deleted, or an older copy of them is put back. What is stored stays, and
// its numbers are not given again.
func TestRestoredLog(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		lose func(t *testing.T, dir, copied string)
	}{
		{"deleted", func(t *testing.T, dir, _ string) { t.Helper(); remove(t, dir) }},
		{"an older copy", func(t *testing.T, dir, copied string) {
			t.Helper()
			remove(t, dir)
			if err := os.CopyFS(dir, os.DirFS(copied)); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir, copied, db := filepath.Join(t.TempDir(), "data"), t.TempDir(), openSQLite(t)
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			var check history.Checker
			var epoch uint64
			life := func(raised bool, do func(l *convlog.Log)) {
				t.Helper()
				b, stopBackbone := backbonetest.OpenDir(t, dir)
				s := partition(t, b)
				l, stop := open(t, s, stored.Of(db.Log()), nil)
				stopWriter := write(t, db, s)
				before := epoch
				var err error
				if epoch, _, err = l.Positions(t.Context()); err != nil || (epoch > before) != raised {
					t.Errorf("epoch = %d, %v, and was %d; want it raised: %t", epoch, err, before, raised)
				}
				do(l)
				wantAllStored(t, db, s)
				stopWriter()
				stop()
				stopBackbone()
			}
			sendTo := func(l *convlog.Log, c chat.ConversationID, id string) {
				t.Helper()
				e := text("ann", id, "x")
				e.ConversationId = string(c)
				r, err := l.Append(t.Context(), convlog.Draft{Entry: e, Permit: convlog.Any, Resend: true})
				if err != nil {
					t.Fatal(err)
				}
				check.Acked(history.Entry{Conversation: string(c), Seq: r.Seq, MessageID: string(r.MessageID), ClientMsgID: id, Sender: "ann"})
			}
			fill := func(from, to int) func(l *convlog.Log) {
				return func(l *convlog.Log) {
					for i := from; i < to; i++ {
						sendTo(l, team, fmt.Sprint("m", i))
						sendTo(l, "g~other", fmt.Sprint("m", i))
					}
				}
			}
			life(true, fill(0, 8)) // from none to the first
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			life(false, fill(8, 20))
			tt.lose(t, dir, copied)
			life(true, func(l *convlog.Log) {
				fill(15, 30)(l) // some of it again
				if head, err := l.Head(t.Context(), team); err != nil || head.Seq != 30 {
					t.Errorf("Head = %+v, %v; want seq 30", head, err)
				}
			})
			life(false, fill(0, 31))
			judge(t, &check, db, team, "g~other")
			if n := check.AckedCount(); n != 62 {
				t.Errorf("%d acknowledged; want 62", n)
			}
		})
	}
}

func remove(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}
