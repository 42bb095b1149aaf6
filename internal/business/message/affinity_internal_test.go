package message

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oceanchat/oceanchat/internal/obs"
)

// bus carries announcements between instances, and knows who serves which shard.
type bus struct {
	mu     sync.Mutex // guards what follows
	subs   map[int]func(string, []byte)
	next   int
	said   int
	cut    map[string]bool  // instances that neither speak nor hear
	served map[int][]string // by partition: the names of those that serve it
}

type node struct {
	name string
	stop context.CancelFunc
	over chan struct{}
}

// start begins an instance on b.
func (b *bus) start(t *testing.T, name string, partitions int) *node {
	t.Helper()
	a := newAffinity(Affinity{Partitions: partitions, Serve: b.serve(t, name), Subscribe: b.subscribe(name)},
		func(subject string, data []byte) error { return b.publish(name, subject, data) },
		slog.New(slog.DiscardHandler), obs.Every(time.Minute))
	ctx, stop := context.WithCancel(t.Context())
	n := &node{name: name, stop: stop, over: make(chan struct{})}
	go func() { defer close(n.over); a.run(ctx) }()
	t.Cleanup(func() { stop(); <-n.over })
	return n
}

func (b *bus) serve(t *testing.T, name string) func(string, string) func() {
	return func(target, shard string) func() {
		p, err := strconv.Atoi(shard)
		if err != nil || target != "message" {
			t.Errorf("ServeShard(%q, %q); want a partition of message", target, shard)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.served[p] = append(b.served[p], name)
		return func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.served[p] = slices.DeleteFunc(b.served[p], func(s string) bool { return s == name })
		}
	}
}

func (b *bus) subscribe(name string) func(string, string, func(string, []byte)) (func(), error) {
	return func(_, _ string, fn func(string, []byte)) (func(), error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.next++
		n := b.next
		b.subs[n] = func(subject string, data []byte) {
			if !b.cut[name] {
				fn(subject, data)
			}
		}
		return func() { b.mu.Lock(); defer b.mu.Unlock(); delete(b.subs, n) }, nil
	}
}

func (b *bus) publish(name, subject string, data []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.said++
	if b.cut[name] {
		return fmt.Errorf("%s is cut off", name)
	}
	for _, fn := range b.subs {
		fn(subject, data)
	}
	return nil
}

// count returns how often anybody has said anything.
func (b *bus) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.said
}

// shares returns how many partitions each instance serves, and fails unless each has exactly one of names.
func (b *bus) shares(t *testing.T, partitions int, names ...string) map[string]int {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	got := map[string]int{}
	for p := range partitions {
		who := slices.DeleteFunc(slices.Clone(b.served[p]), func(s string) bool { return !slices.Contains(names, s) })
		if len(who) != 1 {
			t.Errorf("partition %d is served by %q; want one of %q", p, who, names)
			continue
		}
		got[who[0]]++
	}
	return got
}

func newBus() *bus {
	return &bus{subs: map[int]func(string, []byte){}, cut: map[string]bool{}, served: map[int][]string{}}
}

func TestAffinity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const partitions = 64
		b := newBus()
		one := b.start(t, "one", partitions)
		time.Sleep(announceEvery + time.Millisecond)
		b.shares(t, partitions, "one") // alone
		two, _ := b.start(t, "two", partitions), b.start(t, "three", partitions)
		time.Sleep(announceEvery + time.Millisecond)
		for name, n := range b.shares(t, partitions, "one", "two", "three") {
			if n < partitions/10 {
				t.Errorf("%s has %d of %d partitions; want about a third", name, n, partitions)
			}
		}
		before := b.count()
		time.Sleep(10 * announceEvery)
		if n := b.count() - before; n < 29 || n > 31 {
			t.Errorf("three instances announced themselves %d times in 10 s; want once a second each", n)
		}
		two.stop() // it says goodbye, so nobody waits
		<-two.over
		synctest.Wait()
		b.shares(t, partitions, "one", "three")
		b.mu.Lock()
		b.cut["one"] = true // it hangs, and says nothing
		b.mu.Unlock()
		time.Sleep(aliveFor + 2*announceEvery)
		b.shares(t, partitions, "three")
		b.shares(t, partitions, "one") // both sides serve all: harmless, and the best either can do
		b.mu.Lock()
		b.cut["one"] = false
		b.mu.Unlock()
		time.Sleep(2 * announceEvery)
		b.shares(t, partitions, "one", "three")
		one.stop()
		<-one.over
		synctest.Wait()
		b.shares(t, partitions, "three")
	})
}

// When an instance goes, no partition changes hands but its own.
func TestOwnedMovesLittle(t *testing.T) {
	t.Parallel()
	const partitions = 256
	ids := []string{"a1", "a2", "a3", "a4", "a5"}
	owner := func(ids []string) map[int]string {
		of := map[int]string{}
		for i, id := range ids {
			peers := map[string]time.Time{}
			for j, other := range ids {
				if i != j {
					peers[other] = time.Time{}
				}
			}
			for p := range owned(id, peers, partitions) {
				if of[p] != "" {
					t.Errorf("partition %d belongs to %s and %s", p, of[p], id)
				}
				of[p] = id
			}
		}
		if len(of) != partitions {
			t.Errorf("%d of %d partitions have an owner", len(of), partitions)
		}
		return of
	}
	all, fewer := owner(ids), owner(ids[:4])
	share := map[string]int{}
	for p, id := range all {
		share[id]++
		if id != "a5" && fewer[p] != id {
			t.Errorf("partition %d went from %s to %s when a5 left", p, id, fewer[p])
		}
	}
	for _, id := range ids {
		if n := share[id]; n < partitions/10 || n > partitions/3 {
			t.Errorf("%s has %d of %d partitions; want about a fifth", id, n, partitions)
		}
	}
}

func TestHearBadAnnouncements(t *testing.T) {
	t.Parallel()
	a := newAffinity(Affinity{Partitions: 1}, nil, slog.New(slog.DiscardHandler), obs.Every(time.Minute))
	for _, data := range []string{"", "no json", `{"schema":1,"id":""}`, `{"schema":1,"id":"a b"}`, fmt.Sprintf(`{"id":%q}`, a.id)} {
		a.hear(AliveSubject, []byte(data))
		if len(a.heard) > 0 {
			t.Errorf("hear(%q) passes %+v on; want nothing", data, <-a.heard)
		}
	}
	for range heardQueue + 10 {
		a.hear(AliveSubject, []byte(`{"schema":2,"id":"other","new":true}`))
	}
	if len(a.heard) != heardQueue {
		t.Errorf("%d announcements wait; want %d: the rest is dropped", len(a.heard), heardQueue)
	}
}
