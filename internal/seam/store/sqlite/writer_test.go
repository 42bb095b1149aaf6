package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
)

type execFunc = func(string, ...any) (int64, error)

func putKey(exec execFunc, name string) error {
	_, err := exec(`INSERT INTO secret (name, value) VALUES (?, x'01')`, name)
	return err
}

func hasKey(t *testing.T, db *sqlite.DB, name string) bool {
	t.Helper()
	v, err := db.Keys().PutIfAbsent(t.Context(), name, []byte("probe"))
	if err != nil {
		t.Fatal(err)
	}
	return string(v) != "probe"
}

// hold keeps the writer busy until release is called; what is written meanwhile shares a transaction, perhaps with the
// holding write, whose error release returns.
func hold(t *testing.T, db *sqlite.DB) (release func() error) {
	t.Helper()
	held, gate, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- db.Write(context.Background(), func(execFunc) error {
			close(held)
			<-gate
			return nil
		})
	}()
	<-held
	return func() error {
		close(gate)
		return <-done
	}
}

// queued waits until n writes are in the queue.
func queued(t *testing.T, db *sqlite.DB, n int) {
	t.Helper()
	for db.Waiting() < n {
		if t.Context().Err() != nil {
			t.Fatalf("%d writes in the queue; want %d", db.Waiting(), n)
		}
		runtime.Gosched()
	}
}

var errMine = errors.New("mine")

// A write that fails, panics or breaks a constraint is undone alone; those beside it in the transaction are kept.
func TestGroupKeepsTheOthers(t *testing.T) {
	t.Parallel()
	db := openDB(t, filepath.Join(t.TempDir(), "x.db"))
	release := hold(t, db)
	errs := make([]error, 40)
	var wg sync.WaitGroup
	for n := range errs {
		wg.Go(func() {
			errs[n] = db.Write(t.Context(), func(exec execFunc) error {
				if err := putKey(exec, fmt.Sprint("k", n)); err != nil {
					return err
				}
				switch n % 4 {
				case 1:
					return errMine
				case 2:
					panic("at the disco")
				case 3:
					return putKey(exec, fmt.Sprint("k", n)) // again
				}
				return nil
			})
		})
	}
	queued(t, db, len(errs))
	if err := release(); err != nil {
		t.Errorf("the holding write: %v", err)
	}
	wg.Wait()
	for n, err := range errs {
		ok := n%4 == 0
		if (err == nil) != ok {
			t.Errorf("write %d: error = %v; want success %v", n, err, ok)
		}
		if n%4 == 1 && !errors.Is(err, errMine) {
			t.Errorf("write %d: error = %v; want %v", n, err, errMine)
		}
		if n%4 == 2 && !strings.Contains(fmt.Sprint(err), "at the disco") {
			t.Errorf("write %d: error = %v; want the panic", n, err)
		}
		if got := hasKey(t, db, fmt.Sprint("k", n)); got != ok {
			t.Errorf("effect of write %d is stored: %v; want %v", n, got, ok)
		}
	}
}

// If SQLite ends the whole transaction, as it does when the disk fails, every write in it gets an error.
func TestGroupLostAsAWhole(t *testing.T) {
	t.Parallel()
	db := openDB(t, filepath.Join(t.TempDir(), "x.db"))
	release := hold(t, db)
	errs := make([]error, 10)
	var wg sync.WaitGroup
	for n := range errs {
		wg.Go(func() {
			errs[n] = db.Write(t.Context(), func(exec execFunc) error {
				if err := putKey(exec, fmt.Sprint("k", n)); err != nil {
					return err
				}
				if n == 5 {
					_, _ = exec("ROLLBACK") // what SQLite does by itself
					return errMine
				}
				return nil
			})
		})
	}
	queued(t, db, len(errs))
	_ = release() // lost with the others if it shares their transaction
	wg.Wait()
	for n, err := range errs {
		if errors.Is(err, errMine) != (n == 5) {
			t.Errorf("write %d: error = %v; want %v only for the write that returned it", n, err, errMine)
		}
		if got := hasKey(t, db, fmt.Sprint("k", n)); got != (err == nil) {
			t.Errorf("write %d: error = %v, stored %v; want an error exactly if it is not stored", n, err, got)
		}
	}
}

// The number that a failed write gave to a conversation is not used by the next one.
func TestNumberOfAFailedWriteIsForgotten(t *testing.T) {
	t.Parallel()
	db, ctx := openDB(t, filepath.Join(t.TempDir(), "x.db")), t.Context()
	b := store.Batch{To: store.Mark{Incarnation: "one", Position: 1}, Entries: []store.Entry{{ConversationID: "g~a", Seq: 1}}}
	if err := db.FailAfter(ctx, b, errMine); !errors.Is(err, errMine) {
		t.Fatalf("the failing write: %v; want %v", err, errMine)
	}
	b.Entries[0].ConversationID = "g~b" // gets the number that g~a had
	if err := db.Log().Store(ctx, b); err != nil {
		t.Fatal(err)
	}
	b.From, b.To.Position, b.Entries[0].ConversationID = b.To, 2, "g~a"
	if err := db.Log().Store(ctx, b); err != nil {
		t.Fatal(err)
	}
	for _, c := range []chat.ConversationID{"g~a", "g~b"} {
		if _, err := db.Cursors().Entry(ctx, c, 1); err != nil {
			t.Errorf("Entry(%s, 1): %v; want it stored", c, err)
		}
	}
}

// A write whose context ends while it waits never runs; one that runs already is waited for.
func TestContextEndsWhileWaiting(t *testing.T) {
	t.Parallel()
	db := openDB(t, filepath.Join(t.TempDir(), "x.db"))
	release := hold(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- db.Write(ctx, func(exec execFunc) error { return putKey(exec, "left") }) }()
	queued(t, db, 1)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("a write that waited: %v; want %v", err, context.Canceled)
	}
	if err := release(); err != nil {
		t.Errorf("the holding write: %v", err)
	}
	if hasKey(t, db, "left") {
		t.Error("a write whose caller has gone was done")
	}
	ctx, cancel = context.WithCancel(t.Context())
	if err := db.Write(ctx, func(exec execFunc) error {
		cancel()
		return putKey(exec, "running")
	}); err != nil {
		t.Fatalf("a write that ran: %v; want nil", err)
	}
	if !hasKey(t, db, "running") {
		t.Error("a write that had begun was not done")
	}
}

// The queue is bounded: what does not fit waits in its caller, and Close lets all that was handed in finish.
func TestFullQueueAndClose(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db := openDB(t, path)
	release := hold(t, db)
	const writes = 1200
	errs := make([]error, writes)
	var wg, begun sync.WaitGroup
	begun.Add(writes)
	for n := range writes {
		wg.Go(func() {
			begun.Done()
			errs[n] = db.Write(t.Context(), func(exec execFunc) error { return putKey(exec, fmt.Sprint("k", n)) })
		})
	}
	begun.Wait()
	queued(t, db, 1024) // full
	closed := make(chan error)
	go func() { closed <- db.Close() }()
	if err := release(); err != nil {
		t.Errorf("the holding write: %v", err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := db.Write(t.Context(), func(execFunc) error { return nil }); err == nil {
		t.Error("a write after Close succeeded; want an error")
	}
	db = openDB(t, path)
	kept, lost := 0, 0
	if err := db.Write(t.Context(), func(exec execFunc) error {
		for n, err := range errs {
			found, e := exec(`DELETE FROM secret WHERE name = ?`, fmt.Sprint("k", n))
			if e != nil || (found == 1) != (err == nil) {
				t.Errorf("write %d: error = %v, stored %v (%v); want an error exactly if it is not stored", n, err, found, e)
			}
			if err == nil {
				kept++
			} else {
				lost++
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if kept < 1024 {
		t.Errorf("%d writes were done and %d refused; want all that were in the queue done", kept, lost)
	}
}
