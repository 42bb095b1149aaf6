package backbonetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// consumer is a Consume under way and what it got, as "topic data try".
type consumer struct {
	cancel context.CancelFunc
	ended  chan error

	mu     sync.Mutex
	got    []string
	parked []string
}

func consume(t *testing.T, q backbone.Queue, c backbone.Consumer, handle func(backbone.Task) backbone.Verdict) *consumer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &consumer{cancel: cancel, ended: make(chan error, 1)}
	c.Handle = func(_ context.Context, k backbone.Task) backbone.Verdict {
		w.mu.Lock()
		w.got = append(w.got, fmt.Sprintf("%s %s %d", k.Topic, k.Data, k.Tries))
		w.mu.Unlock()
		if handle == nil {
			return backbone.Done()
		}
		return handle(k)
	}
	c.Parked = func(k backbone.Task, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.parked = append(w.parked, fmt.Sprintf("%s %s: %v", k.Topic, k.Data, err))
	}
	go func() { w.ended <- q.Consume(ctx, c) }()
	t.Cleanup(func() { w.stop(t) })
	return w
}

func (w *consumer) stop(t *testing.T) {
	t.Helper()
	w.cancel()
	if err := <-w.ended; err != nil {
		t.Errorf("Consume = %v; want nil", err)
	}
	w.ended <- nil
}

func (w *consumer) tasks() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.got)
}

func (w *consumer) wants(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("tasks %v", want), func() bool { return len(w.tasks()) >= len(want) })
	if diff := cmp.Diff(want, w.tasks()); diff != "" {
		t.Errorf("tasks differ (-want +got):\n%s", diff)
	}
}

func publish(t *testing.T, q backbone.Queue, topic, id, data string) {
	t.Helper()
	if err := q.Publish(t.Context(), topic, id, []byte(data)); err != nil {
		t.Fatalf("Publish(%s) = %v; want nil", topic, err)
	}
}

func testQueue(t *testing.T, open Opener) {
	tests := []struct {
		name string
		run  func(*testing.T, backbone.Queue)
	}{
		{"in order, then what comes later", testQueueOrder},
		{"retry", testQueueRetry},
		{"parked after the last try", testQueueLastTry},
		{"parked at once", testQueuePark},
		{"panic is a retry", testQueuePanic},
		{"no verdict is a retry", testQueueNoVerdict},
		{"same id once", testQueueDedupe},
		{"bad topic", testQueueBadTopic},
		{"topics", testQueueTopics},
		{"shared by instances", testQueueShared},
		{"in flight", testQueueInFlight},
		{"unusable consumer", testQueueUnusable},
		{"ended before it began", testQueueEnded},
	}
	for _, name := range []backbone.QueueName{backbone.PushOnline, backbone.PushOffline, backbone.Events} {
		t.Run(string(name), func(t *testing.T) {
			for _, tt := range tests {
				t.Run(tt.name, func(t *testing.T) {
					b, _ := open(t, t.TempDir())
					tt.run(t, openQueue(t, b, name))
				})
			}
		})
	}
	t.Run("unknown queue", func(t *testing.T) {
		b, _ := open(t, t.TempDir())
		if _, err := b.Queue(t.Context(), "nope"); err == nil {
			t.Error("Queue(nope) = nil; want an error")
		}
	})
	t.Run("events reach each name", func(t *testing.T) {
		b, _ := open(t, t.TempDir())
		q := openQueue(t, b, backbone.Events)
		publish(t, q, "user.registered", "", "x")
		for _, name := range []string{"one", "two"} {
			consume(t, q, backbone.Consumer{Name: name, Topic: "user.>"}, nil).wants(t, "user.registered x 1")
		}
	})
	t.Run("on disk across a restart", func(t *testing.T) {
		for _, name := range []backbone.QueueName{backbone.PushOffline, backbone.Events} {
			dir := t.TempDir()
			b, stop := open(t, dir)
			publish(t, openQueue(t, b, name), "a", "", "x")
			stop()
			b, _ = open(t, dir)
			w := consume(t, openQueue(t, b, name), backbone.Consumer{Name: "c"}, nil)
			w.wants(t, "a x 1")
			w.stop(t)
		}
	})
}

func openQueue(t *testing.T, b backbone.Backbone, name backbone.QueueName) backbone.Queue {
	t.Helper()
	q, err := b.Queue(t.Context(), name)
	if err != nil {
		t.Fatalf("Queue(%s) = %v", name, err)
	}
	return q
}

func testQueueOrder(t *testing.T, q backbone.Queue) {
	var want []string
	for n := range 20 {
		publish(t, q, "a", "", strconv.Itoa(n))
		want = append(want, fmt.Sprintf("a %d 1", n))
	}
	w := consume(t, q, backbone.Consumer{Name: "c"}, nil)
	w.wants(t, want...)
	publish(t, q, "a", "", "late")
	w.wants(t, append(want, "a late 1")...)
}

func testQueueRetry(t *testing.T, q backbone.Queue) {
	publish(t, q, "a", "", "x")
	w := consume(t, q, backbone.Consumer{Name: "c"}, func(k backbone.Task) backbone.Verdict {
		if k.Tries < 3 {
			return backbone.RetryAfter(time.Millisecond, errors.New("not yet"))
		}
		return backbone.Done()
	})
	w.wants(t, "a x 1", "a x 2", "a x 3")
	publish(t, q, "a", "", "y")
	w.wants(t, "a x 1", "a x 2", "a x 3", "a y 1", "a y 2", "a y 3")
}

// parks waits for one parked task and shows that the queue goes on.
func parks(t *testing.T, q backbone.Queue, w *consumer, want string) {
	t.Helper()
	eventually(t, "parked", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.parked) > 0
	})
	publish(t, q, "a", "", "next")
	eventually(t, "next task", func() bool { return slices.Contains(w.tasks(), "a next 1") })
	w.mu.Lock()
	defer w.mu.Unlock()
	if diff := cmp.Diff([]string{want}, w.parked); diff != "" {
		t.Errorf("parked differs (-want +got):\n%s", diff)
	}
}

func testQueueLastTry(t *testing.T, q backbone.Queue) {
	publish(t, q, "a", "id-1", "bad")
	w := consume(t, q, backbone.Consumer{Name: "c", MaxTries: 3}, func(k backbone.Task) backbone.Verdict {
		if string(k.Data) == "bad" {
			return backbone.RetryAfter(0, errors.New("still\nbad"))
		}
		return backbone.Done()
	})
	parks(t, q, w, "a bad: given up after 3 tries: still\nbad")
	w.wants(t, "a bad 1", "a bad 2", "a bad 3", "a next 1")
}

func testQueuePark(t *testing.T, q backbone.Queue) {
	publish(t, q, "a", "", "bad")
	w := consume(t, q, backbone.Consumer{Name: "c"}, func(k backbone.Task) backbone.Verdict {
		if string(k.Data) == "bad" {
			return backbone.Park(errors.New("of no use"))
		}
		return backbone.Done()
	})
	parks(t, q, w, "a bad: of no use")
	w.wants(t, "a bad 1", "a next 1")
}

func testQueuePanic(t *testing.T, q backbone.Queue) {
	publish(t, q, "a", "", "bad")
	w := consume(t, q, backbone.Consumer{Name: "c", MaxTries: 1}, func(k backbone.Task) backbone.Verdict {
		if string(k.Data) == "bad" {
			panic("boom")
		}
		return backbone.Done()
	})
	parks(t, q, w, "a bad: given up after 1 tries: panic: boom")
}

func testQueueNoVerdict(t *testing.T, q backbone.Queue) {
	publish(t, q, "a", "", "x")
	w := consume(t, q, backbone.Consumer{Name: "c"}, func(k backbone.Task) backbone.Verdict {
		if k.Tries == 1 {
			return backbone.Verdict{}
		}
		return backbone.Done()
	})
	w.wants(t, "a x 1", "a x 2")
}

func testQueueDedupe(t *testing.T, q backbone.Queue) {
	publish(t, q, "a", "same", "one")
	publish(t, q, "a", "same", "two")
	publish(t, q, "a", "other", "three")
	w := consume(t, q, backbone.Consumer{Name: "c"}, nil)
	w.wants(t, "a one 1", "a three 1")
	publish(t, q, "a", "same", "four") // also after it was done
	publish(t, q, "a", "", "five")
	w.wants(t, "a one 1", "a three 1", "a five 1")
}

func testQueueBadTopic(t *testing.T, q backbone.Queue) {
	for _, topic := range []string{"", ".", "a.", "a..b", "a b", "*", "a.>"} {
		wantErr(t, fmt.Sprintf("Publish(%q)", topic), q.Publish(t.Context(), topic, "", nil), backbone.ErrRefused)
	}
	wantErr(t, "Publish(too long)", q.Publish(t.Context(), "a", "", make([]byte, backbone.MaxData+1)), backbone.ErrRefused)
}

func testQueueTopics(t *testing.T, q backbone.Queue) {
	for _, topic := range []string{"a", "b.x", "b.y.z", "c"} {
		publish(t, q, topic, "", "-")
	}
	consume(t, q, backbone.Consumer{Name: "one", Topic: "b.>"}, nil).wants(t, "b.x - 1", "b.y.z - 1")
	consume(t, q, backbone.Consumer{Name: "two", Topic: "c"}, nil).wants(t, "c - 1")
}

func testQueueShared(t *testing.T, q backbone.Queue) {
	const n = 30
	c := backbone.Consumer{Name: "c", MaxInFlight: 2}
	a, b := consume(t, q, c, nil), consume(t, q, c, nil)
	var want []string
	for i := range n {
		topic := fmt.Sprintf("t%02d", i)
		publish(t, q, topic, "", "x")
		want = append(want, topic+" x 1")
	}
	eventually(t, "all tasks", func() bool { return len(a.tasks())+len(b.tasks()) >= n })
	got := append(a.tasks(), b.tasks()...)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tasks of both differ (-want +got):\n%s", diff)
	}
}

// testQueueInFlight shows that MaxInFlight calls run at a time: each waits for the others.
func testQueueInFlight(t *testing.T, q backbone.Queue) {
	const n = 3
	var all sync.WaitGroup
	all.Add(n)
	w := consume(t, q, backbone.Consumer{Name: "c", MaxInFlight: n}, func(backbone.Task) backbone.Verdict {
		all.Done()
		all.Wait()
		return backbone.Done()
	})
	for i := range n {
		publish(t, q, strconv.Itoa(i), "", "x")
	}
	eventually(t, "all at a time", func() bool { return len(w.tasks()) == n })
}

func testQueueEnded(t *testing.T, q backbone.Queue) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	handle := func(context.Context, backbone.Task) backbone.Verdict { return backbone.Done() }
	if err := q.Consume(ctx, backbone.Consumer{Name: "c", Handle: handle}); err != nil {
		t.Errorf("Consume with a context that has ended = %v; want nil", err)
	}
}

func testQueueUnusable(t *testing.T, q backbone.Queue) {
	handle := func(context.Context, backbone.Task) backbone.Verdict { return backbone.Done() }
	for _, c := range []backbone.Consumer{{Handle: handle}, {Name: "a b", Handle: handle}, {Name: "c"}, {Name: "c", Topic: ">.a", Handle: handle}} {
		if err := q.Consume(t.Context(), c); err == nil {
			t.Errorf("Consume(%q, %q) = nil; want an error", c.Name, c.Topic)
		}
	}
}
