package callstest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// longSilence is longer than any network waits for a sign of an instance.
const longSilence = 4 * time.Second

// testHangs: what an instance that hangs may have done is not done by another.
func testHangs(t *testing.T, c Cluster) {
	h := newHeld()
	first := serveAt(c, 0, many, h.hello)
	call := enter(within(t), t, c, h, longSilence)
	first.mute()
	var other atomic.Int64
	serveAt(c, 1, many, counting(&other))
	if err := <-call; !fault.IsReason(err, fault.OutcomeUnknown) {
		t.Errorf("Hello at an instance that hangs = %v; want %s", err, fault.OutcomeUnknown)
	}
	if again := len(h.entered); again != 0 || other.Load() != 0 {
		t.Errorf("it was executed again %d times, and %d times by the other instance; want never", again, other.Load())
	}
}

func (i Instance) mute() {
	if i.Mute != nil {
		i.Mute()
	}
}

// looking serves reads at two instances: those of the first never end, those of the second do.
func looking(c Cluster) (first Instance, asked, answered *atomic.Int64, entered chan struct{}) {
	asked, answered, entered = new(atomic.Int64), new(atomic.Int64), make(chan struct{}, many)
	first = c.Start(0, many)
	presencev1.RegisterPresenceInternalServiceServer(first.Host, presence{look: func(ctx context.Context) error {
		asked.Add(1)
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}})
	second := c.Start(1, many)
	presencev1.RegisterPresenceInternalServiceServer(second.Host, presence{look: func(context.Context) error {
		answered.Add(1)
		return nil
	}})
	return first, asked, answered, entered
}

// look reads, and checks the answer.
func look(ctx context.Context, t *testing.T, c Cluster) error {
	t.Helper()
	r, err := client(c).Lookup(ctx, &presencev1.LookupRequest{UserIds: []string{"a", "b"}})
	if got := len(r.GetConnections()); err == nil && got != 2 {
		t.Errorf("Lookup = %d connections; want 2, those of one answer", got)
	}
	return err
}

// testReadDies: what only reads is answered by another instance.
func testReadDies(t *testing.T, c Cluster) {
	ctx := within(t)
	first, _, answered, entered := looking(c)
	for {
		got := make(chan error, 1)
		go func() { got <- look(ctx, t, c) }()
		select {
		case err := <-got:
			if err != nil && !fault.IsReason(err, fault.Overloaded) {
				t.Fatalf("Lookup = %v", err)
			}
			continue // the other one was asked
		case <-entered:
		}
		before := answered.Load()
		first.Kill()
		if err := <-got; err != nil || answered.Load() == before {
			t.Errorf("Lookup at an instance that died = %v, and %d at the other; want no error, at least 1", err, answered.Load()-before)
		}
		return
	}
}

// testReadHangs: it may be that a call is unlucky every time that it is repeated.
func testReadHangs(t *testing.T, c Cluster) {
	const tries = 3
	ctx := within(t)
	first, asked, _, _ := looking(c)
	first.mute()
	for ctx.Err() == nil {
		before := asked.Load()
		soon, cancel := context.WithTimeout(ctx, tries*longSilence)
		err := look(soon, t, c)
		cancel()
		switch n := asked.Load() - before; {
		case n > tries:
			t.Fatalf("Lookup was executed %d times; want at most %d", n, tries)
		case err == nil && n > 0:
			return
		case err != nil && n < tries && !fault.IsReason(err, fault.Overloaded):
			t.Fatalf("Lookup = %v, and the instance that hangs was asked %d times; want the answer of the other", err, n)
		}
	}
	t.Error("no call was answered after an instance that hangs was asked; want that the other answers")
}
