package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
)

func onlineQueue(t *testing.T) backbone.Queue {
	t.Helper()
	q, err := backbonetest.Open(t).Queue(t.Context(), backbone.PushOnline)
	if err != nil {
		t.Fatalf("Queue = %v", err)
	}
	return q
}

// Invariant 7: at the bound Publish waits, and says ErrFull when its context ends.
func TestHandoverBound(t *testing.T) {
	q := onlineQueue(t)
	short, cancel := context.WithCancel(t.Context())
	cancel()
	n, data := 0, make([]byte, 1<<19)
	var err error
	for err == nil && n < 10_000 {
		if err = q.Publish(short, "a", "", data); err == nil {
			n++
		}
	}
	if !errors.Is(err, backbone.ErrFull) || n != 128 {
		t.Fatalf("Publish number %d = %v; want %v after 64 MiB", n, err, backbone.ErrFull)
	}
	waited := make(chan error)
	go func() { waited <- q.Publish(t.Context(), "a", "", data) }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := 0
	err = q.Consume(ctx, backbone.Consumer{Name: "c", Handle: func(context.Context, backbone.Task) backbone.Verdict {
		if got++; got == n+1 {
			cancel()
		}
		return backbone.Done()
	}})
	if err := errors.Join(err, <-waited); err != nil || got != n+1 {
		t.Errorf("handled %d, %v; want %d, nil", got, err, n+1)
	}
}

// The order of a topic is kept through retries, and a topic that fails holds up no other.
func TestHandoverOrder(t *testing.T) {
	q := onlineQueue(t)
	want := map[string][]string{}
	for n := range 10 {
		for _, topic := range []string{"a", "b", "c"} {
			if err := q.Publish(t.Context(), topic, "", fmt.Append(nil, n)); err != nil {
				t.Fatalf("Publish = %v", err)
			}
			want[topic] = append(want[topic], fmt.Sprint(n))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var mu sync.Mutex
	got, others := map[string][]string{}, false
	err := q.Consume(ctx, backbone.Consumer{Name: "c", MaxInFlight: 8, MaxTries: 1 << 20, Handle: func(_ context.Context, k backbone.Task) backbone.Verdict {
		mu.Lock()
		defer mu.Unlock()
		others = others || len(got["b"]) == 10 && len(got["c"]) == 10
		if k.Topic == "a" && (k.Tries < 3 || !others) {
			return backbone.RetryAfter(time.Millisecond, errors.New("not yet"))
		}
		got[k.Topic] = append(got[k.Topic], string(k.Data))
		if len(got["a"]) == 10 {
			cancel()
		}
		return backbone.Done()
	}})
	if err != nil {
		t.Fatalf("Consume = %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tasks by topic differ (-want +got):\n%s", diff)
	}
}

// A publisher may use its buffer again.
func TestHandoverCopies(t *testing.T) {
	q := onlineQueue(t)
	buf := []byte("before")
	if err := q.Publish(t.Context(), "a", "", buf); err != nil {
		t.Fatalf("Publish = %v", err)
	}
	copy(buf, "after!")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []byte
	err := q.Consume(ctx, backbone.Consumer{Name: "c", Handle: func(_ context.Context, k backbone.Task) backbone.Verdict {
		got = slices.Clone(k.Data)
		cancel()
		return backbone.Done()
	}})
	if err != nil || string(got) != "before" {
		t.Errorf("task = %q, %v; want before, nil", got, err)
	}
}
