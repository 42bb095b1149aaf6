package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/embedded"
)

func childInterval(dir string) error { return appendForEver(dir, embedded.SyncInterval) }
func childAppend(dir string) error   { return appendForEver(dir, embedded.SyncAlways) }

// appendForEver appends and publishes for ever and prints what was acknowledged. Its reader is done
// with ten messages and fails on the others.
func appendForEver(dir, sync string) error {
	s, err := run(embedded.Config{Dir: dir, Sync: sync, LogMaxBytes: 1 << 30})
	if err != nil {
		return err
	}
	ctx := context.Background()
	l, err := s.Log(ctx, 0)
	if err != nil {
		return err
	}
	q, err := s.Queue(ctx, backbone.PushOffline)
	if err != nil {
		return err
	}
	i, err := l.Info(ctx)
	if err != nil {
		return err
	}
	go func() {
		most := i.Last + 10
		_ = l.Follow(ctx, backbone.Reader{Name: "reader", MaxBatch: 5, Handle: func(_ context.Context, run []backbone.Message) error {
			if run[len(run)-1].Seq > most {
				return errors.New("enough")
			}
			return nil
		}})
	}()
	for seq := i.Last + 1; ; seq++ {
		if _, err := l.Append(ctx, []byte(text(seq)), seq-1); err != nil {
			return err
		}
		fmt.Println("log", seq)
		if seq%10 == 0 {
			if err := q.Publish(ctx, "vendor", text(seq), []byte(text(seq))); err != nil {
				return err
			}
			fmt.Println("queue", seq)
		}
	}
}

// Invariant 1: what was acknowledged is there after kill -9; and a reader goes on where it stood,
// with what had been delivered to it and not acknowledged.
func TestKill(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"append", "append-interval"} { // either survives the death of the process
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			testKill(t, mode)
		})
	}
}

func testKill(t *testing.T, mode string) {
	dir := t.TempDir()
	var log uint64
	queued := map[string]bool{}
	for round := range 3 {
		log = killAfter(t, mode, dir, 150+40*round, queued)
	}
	b, _ := backbonetest.OpenConfig(t, embedded.Config{Dir: dir, LogMaxBytes: 1 << 30})
	l, err := b.Log(t.Context(), 0)
	if err != nil {
		t.Fatalf("Log = %v", err)
	}
	i, err := l.Info(t.Context())
	if err != nil || i.First != 1 || i.Last < log {
		t.Fatalf("Info = %+v, %v; want 1 to at least %d", i, err, log)
	}
	if err := check(t.Context(), l, i.Last); err != nil {
		t.Error(err)
	}
	floor, err := l.Floor(t.Context(), "reader")
	if err != nil || floor >= i.Last {
		t.Errorf("Floor = %d, %v; want less than %d", floor, err, i.Last)
	}
	wantRest(t, l, floor, i.Last)
	wantTasks(t, b, queued)
}

// killAfter runs the child until it acknowledged n messages, and kills it.
func killAfter(t *testing.T, mode, dir string, n int, queued map[string]bool) (last uint64) {
	t.Helper()
	c := child(t, mode, dir)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	got := 0
	for lines := bufio.NewScanner(out); lines.Scan(); { // also what was printed before it died
		kind, num, _ := strings.Cut(lines.Text(), " ")
		seq, err := strconv.ParseUint(num, 10, 64)
		switch {
		case err != nil:
			t.Fatalf("child says %q", lines.Text())
		case kind == "queue":
			queued[text(seq)] = true
		default:
			last = seq
		}
		if got++; got == n {
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = c.Wait() // it was killed
	if got < n {
		t.Fatalf("child ended after %d lines; want %d", got, n)
	}
	return last
}

func wantRest(t *testing.T, l backbone.Log, floor, last uint64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	next := floor + 1
	err := l.Follow(ctx, backbone.Reader{Name: "reader", Handle: func(_ context.Context, run []backbone.Message) error {
		for _, m := range run {
			if m.Seq != next {
				t.Errorf("reader got %d; want %d", m.Seq, next)
			}
			next = m.Seq + 1
		}
		if next > last {
			cancel()
		}
		return nil
	}})
	if err != nil {
		t.Errorf("Follow = %v; want nil", err)
	}
}

func wantTasks(t *testing.T, b backbone.Backbone, queued map[string]bool) {
	t.Helper()
	q, err := b.Queue(t.Context(), backbone.PushOffline)
	if err != nil {
		t.Fatalf("Queue = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	err = q.Consume(ctx, backbone.Consumer{Name: "c", Handle: func(_ context.Context, k backbone.Task) backbone.Verdict {
		mu.Lock()
		defer mu.Unlock()
		delete(queued, string(k.Data))
		if len(queued) == 0 {
			cancel()
		}
		return backbone.Done()
	}})
	if err != nil || len(queued) > 0 {
		t.Errorf("Consume = %v with %d tasks missing; want none", err, len(queued))
	}
}
