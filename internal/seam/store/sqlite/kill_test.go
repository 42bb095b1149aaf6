package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
)

const childEnv = "OCEANCHAT_TEST_SQLITE_CHILD" // path of the database that the child writes to

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		fmt.Println(write(path, os.Stdout)) // only reached if a write fails
		return
	}
	goleak.VerifyTestMain(m)
}

// write stores without end, from several goroutines, and says on out what is stored: "b N" batch N, "k ID" a key.
func write(path string, out io.Writer) error {
	db, err := sqlite.Open(path)
	if err != nil {
		return err
	}
	ctx := context.Background()
	from, err := db.Log().Mark(ctx, 0)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintf(out, format, args...)
	}
	failed := make(chan error)
	for range 4 {
		go func() {
			for {
				id := chat.NewID()
				if _, err := db.Keys().PutIfAbsent(ctx, id, []byte(id)); err != nil {
					failed <- err
				}
				say("k %s\n", id)
			}
		}()
	}
	go func() {
		for {
			b := killBatch(from)
			if err := db.Log().Store(ctx, b); err != nil {
				failed <- err
			}
			say("b %d\n", b.To.Position)
			from = b.To
		}
	}()
	return <-failed
}

const perKillBatch = 100

// killBatch returns the batch after from: the next entries of ten conversations.
func killBatch(from store.Mark) store.Batch {
	b := store.Batch{From: from, To: store.Mark{Incarnation: "one", Position: from.Position + 1}}
	for n := range uint64(perKillBatch) {
		c := chat.ConversationID(fmt.Sprint("g~", n%10))
		seq := from.Position*10 + n/10 + 1
		b.Entries = append(b.Entries, store.Entry{ConversationID: c, Seq: seq, Dedupe: seq, Data: make([]byte, 200)})
		if n >= perKillBatch-10 {
			b.Heads = append(b.Heads, store.Head{ConversationID: c, Seq: seq})
		}
	}
	return b
}

// Invariant 1: nothing that a write returned is lost to kill -9 at any moment, and nothing is half there.
func TestKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	keys := make(map[string]bool)
	var stored uint64
	for round := range 3 {
		stored = max(stored, runAndKill(t, path, 40+30*round, keys))
		checkKilled(t, path, stored, keys)
	}
	if stored == 0 || len(keys) == 0 {
		t.Fatalf("%d batches and %d keys stored before the kills; want some of both", stored, len(keys))
	}
}

// runAndKill lets a child write until it has said so many things, kills it, and returns its newest batch.
func runAndKill(t *testing.T, path string, lines int, keys map[string]bool) (stored uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	for n := 0; ; n++ {
		if n == lines {
			if err := cmd.Process.Kill(); err != nil { // SIGKILL, while it writes
				t.Error(err)
			}
		}
		line, err := in.ReadString('\n')
		if err != nil {
			break // a last line without its end does not count
		}
		what, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch what {
		case "k":
			keys[id] = true
		case "b":
			_, _ = fmt.Sscan(id, &stored)
		default:
			t.Errorf("the child says %q", line)
		}
	}
	_ = cmd.Wait() // "signal: killed"
	return stored
}

// checkKilled opens the database as the next start does and checks that it holds all that was said to be stored.
func checkKilled(t *testing.T, path string, stored uint64, keys map[string]bool) {
	t.Helper()
	db, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	m, err := db.Log().Mark(t.Context(), 0)
	if err != nil || m.Position < stored {
		t.Fatalf("Mark = %v, %v; want at least %d", m, err, stored)
	}
	for n := range 10 {
		c := chat.ConversationID(fmt.Sprint("g~", n))
		es, err := db.Reader().Range(t.Context(), c, 1, 1<<62, 1<<30, false)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range es {
			if e.Seq != uint64(i+1) {
				t.Fatalf("entry %d of %s has seq %d: a hole", i+1, c, e.Seq)
			}
		}
		hs, err := db.Log().Heads(t.Context(), []chat.ConversationID{c})
		if err != nil || len(hs) != 1 || hs[0].Seq != uint64(len(es)) || hs[0].Seq != m.Position*10 {
			t.Fatalf("%s has %d entries, head %v, mark %d (%v): they do not agree", c, len(es), hs, m.Position, err)
		}
	}
	for id := range keys {
		if v, err := db.Keys().PutIfAbsent(t.Context(), id, []byte("lost")); err != nil || string(v) != id {
			t.Fatalf("key %s = %q, %v; want it kept", id, v, err)
		}
	}
}
