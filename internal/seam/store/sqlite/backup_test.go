package sqlite_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
)

// A copy that is made while batches are stored holds a state that there was: as far as its mark, and no further.
func TestBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "oceanchat.db")
	db, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	const team = chat.ConversationID("g~team")
	var stored atomic.Uint64
	var writing sync.WaitGroup
	stop := make(chan struct{})
	writing.Go(func() {
		from := store.Mark{}
		for seq := uint64(1); ; seq++ {
			to := store.Mark{Incarnation: "a", Position: seq}
			err := db.Log().Store(t.Context(), store.Batch{From: from, To: to, Entries: []store.Entry{{ConversationID: team, Seq: seq, Data: []byte("x")}}})
			if err != nil {
				t.Errorf("Store = %v", err)
				return
			}
			from = to
			stored.Store(seq)
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for i := range 5 {
		for least := stored.Load() + 20; stored.Load() < least && !t.Failed(); {
		}
		before := stored.Load()
		to := filepath.Join(dir, fmt.Sprint("copy", i))
		if err := sqlite.Backup(t.Context(), path, to); err != nil {
			t.Fatalf("Backup = %v", err)
		}
		if i, err := os.Stat(to); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("the copy is %v, %v; want it readable by its owner only", i, err)
		}
		backup, err := sqlite.Open(to)
		if err != nil {
			t.Fatal(err)
		}
		m, err := backup.Log().Mark(t.Context(), 0)
		entries, err2 := backup.Reader().Range(t.Context(), team, 1, 1<<40, 1<<20, false)
		if err != nil || err2 != nil || m.Position < before || uint64(len(entries)) != m.Position {
			t.Errorf("the copy is at %d with %d entries, %v, %v; want at least %d, and as many entries", m.Position, len(entries), err, err2, before)
		}
		if err := backup.Close(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	writing.Wait()
	if err := sqlite.Backup(t.Context(), path, filepath.Join(dir, "copy0")); err == nil {
		t.Error("Backup onto a file that is there = nil; want an error")
	}
	if err := sqlite.Backup(t.Context(), filepath.Join(dir, "none"), filepath.Join(dir, "copy9")); err == nil {
		t.Error("Backup of nothing = nil; want an error")
	}
	if _, err := os.Stat(filepath.Join(dir, "copy9")); err == nil {
		t.Error("a Backup that failed left a file")
	}
}
