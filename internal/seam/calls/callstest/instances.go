package callstest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// Slots is how many instances a Cluster can have at a time.
const Slots = 2

// Instance is one process of a cluster.
type Instance struct {
	Host calls.Host
	// Drain is the network's.
	Drain func(ctx context.Context)
	// Kill ends it as the death of its process would: nothing is answered any more.
	Kill func()
	// Mute keeps back whatever it says from now on, as if its process were stopped. nil: a handler that does not return says nothing.
	Mute func()
}

// Cluster is instances that are reached by one caller.
type Cluster interface {
	// Caller is a network that reaches all instances, as another process would.
	Caller() calls.Network
	// Start starts the instance in a slot, 0 to Slots-1, in which none is alive. It works on limit calls at a time.
	Start(slot, limit int) Instance
}

// TestInstances runs the rules that a network between processes keeps besides. open returns a Cluster without instances.
func TestInstances(t *testing.T, open func(t *testing.T) Cluster) {
	tests := []struct {
		name string
		run  func(*testing.T, Cluster)
	}{
		{"nobody is there", testNobody},
		{"instances share the work", testShare},
		{"an instance that drains loses nothing", testDrainUnderLoad},
		{"draining waits for calls under way", testDrainWaits},
		{"draining has an end", testDrainEnds},
		{"an instance dies in the middle", testDies},
		{"an instance hangs", testHangs},
		{"a read of which an instance dies", testReadDies},
		{"a read at which an instance hangs", testReadHangs},
		{"more than an instance may do is refused", testBound},
		{"a service that comes later", testLater},
		{"too large", testTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
	}
}

const many = 1000 // calls at a time, where the bound is not the subject

// within is a context in which a test must be done.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func client(c Cluster) presencev1.PresenceInternalServiceClient {
	return presencev1.NewPresenceInternalServiceClient(c.Caller())
}

func serveAt(c Cluster, slot, limit int, h hello) Instance {
	i := c.Start(slot, limit)
	presencev1.RegisterPresenceInternalServiceServer(i.Host, presence{hello: h})
	return i
}

// counting answers and counts.
func counting(n *atomic.Int64) hello {
	return func(ctx context.Context, r *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
		n.Add(1)
		return echo(ctx, r)
	}
}

// until calls until cond is true. Calls may fail until then, but only as nobody is there.
func until(ctx context.Context, t *testing.T, c Cluster, cond func(err error) bool) {
	t.Helper()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for {
		_, err := client(c).Hello(ctx, conns("a"))
		if cond(err) {
			return
		}
		if ctx.Err() != nil || err != nil && !fault.IsReason(err, fault.Overloaded) {
			t.Fatalf("Hello = %v", err)
		}
		<-poll.C
	}
}

func answered(err error) bool { return err == nil }

func testNobody(t *testing.T, c Cluster) {
	ctx := within(t)
	for range 3 {
		_, err := client(c).Hello(ctx, conns("a"))
		if f := fault.Of(err); f == nil || f.Reason != fault.Overloaded || f.RetryAfter <= 0 || ctx.Err() != nil {
			t.Fatalf("Hello with nobody there = %v; want %s at once, with advice when to retry", err, fault.Overloaded)
		}
	}
	serveAt(c, 0, many, echo)
	until(ctx, t, c, answered)
}

func testShare(t *testing.T, c Cluster) {
	ctx := within(t)
	var served [Slots]atomic.Int64
	for slot := range Slots {
		serveAt(c, slot, many, counting(&served[slot]))
	}
	until(ctx, t, c, func(error) bool { return served[0].Load() > 0 && served[1].Load() > 0 })
}

// callers call from many goroutines until stop, which returns how often they did. No call may fail.
func callers(ctx context.Context, t *testing.T, c Cluster) (stop func() int64) {
	var n atomic.Int64
	var wg sync.WaitGroup
	end := make(chan struct{})
	for range 16 {
		wg.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				if _, err := client(c).Hello(ctx, conns("a")); err != nil {
					t.Errorf("Hello = %v; want no error", err)
					return
				}
				n.Add(1)
			}
		})
	}
	return func() int64 {
		close(end)
		wg.Wait()
		return n.Load()
	}
}

func testDrainUnderLoad(t *testing.T, c Cluster) {
	ctx := within(t)
	var served [Slots]atomic.Int64
	first := serveAt(c, 0, many, counting(&served[0]))
	serveAt(c, 1, many, counting(&served[1]))
	until(ctx, t, c, func(error) bool { return served[0].Load() > 100 && served[1].Load() > 100 })
	before := served[0].Load() + served[1].Load()
	stop := callers(ctx, t, c)
	until(ctx, t, c, func(error) bool { return served[0].Load() > 300 })
	first.Drain(ctx)
	rest, last := served[1].Load(), served[0].Load()
	until(ctx, t, c, func(error) bool { return served[1].Load() > rest+100 })
	if n := stop(); served[0].Load() != last || served[0].Load()+served[1].Load()-before < n {
		t.Errorf("%d calls were served after Drain, %d of at least %d in all; want none, and all", served[0].Load()-last, served[0].Load()+served[1].Load()-before, n)
	}
}

// held is a handler whose calls wait until they are let go.
type held struct{ entered, free chan struct{} }

func newHeld() held { return held{make(chan struct{}, 64), make(chan struct{})} }

func (h held) hello(ctx context.Context, r *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
	select {
	case h.entered <- struct{}{}:
	default: // nobody waits for that many
	}
	select {
	case <-h.free:
		return echo(ctx, r)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// begin makes a call and returns where its error will be.
func begin(ctx context.Context, c Cluster) <-chan error {
	got := make(chan error, 1)
	go func() {
		_, err := client(c).Hello(ctx, conns("a"))
		got <- err
	}()
	return got
}

func testDrainWaits(t *testing.T, c Cluster) {
	ctx := within(t)
	h := newHeld()
	i := serveAt(c, 0, many, h.hello)
	call := begin(ctx, c)
	<-h.entered
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		i.Drain(ctx)
	}()
	// Once nobody takes calls any more, the one under way must still be there.
	for {
		short, end := context.WithTimeout(ctx, short)
		_, err := client(c).Hello(short, conns("a"))
		end()
		if fault.IsReason(err, fault.Overloaded) {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("Hello at an instance that drains = %v; want %s", err, fault.Overloaded)
		}
	}
	select {
	case <-drained:
		t.Fatal("Drain returned before the call under way did")
	default:
	}
	close(h.free)
	if err := <-call; err != nil {
		t.Errorf("the call under way = %v; want its answer", err)
	}
	<-drained
}

func testDrainEnds(t *testing.T, c Cluster) {
	ctx := within(t)
	h := newHeld() // its calls end with their context only
	i := serveAt(c, 0, many, h.hello)
	call := begin(ctx, c)
	<-h.entered
	soon, cancel := context.WithTimeout(ctx, short)
	defer cancel()
	i.Drain(soon)
	if err := <-call; !fault.IsReason(err, fault.OutcomeUnknown) {
		t.Errorf("a call that outlasts Drain = %v; want %s", err, fault.OutcomeUnknown)
	}
}

// enter makes a call with a deadline, in d or later, which it has begun to work on.
func enter(ctx context.Context, t *testing.T, c Cluster, h held, d time.Duration) <-chan error {
	t.Helper()
	for ; ; d *= 2 { // on a busy machine the first may pass before the handler is reached
		soon, cancel := context.WithTimeout(ctx, d)
		t.Cleanup(cancel)
		call := begin(soon, c)
		select {
		case <-h.entered:
			return call
		case err := <-call:
			if ctx.Err() != nil || !fault.IsReason(err, fault.OutcomeUnknown) {
				t.Fatalf("Hello = %v; want that it is served", err)
			}
		}
	}
}

// testDies: what a dead instance may have done is not done again by another.
func testDies(t *testing.T, c Cluster) {
	ctx := within(t)
	h := newHeld()
	i := serveAt(c, 0, many, h.hello)
	call := enter(ctx, t, c, h, 20*short) // some networks notice the death, with others the caller does by its deadline
	var other atomic.Int64
	serveAt(c, 1, many, counting(&other))
	i.Kill()
	if err := <-call; !fault.IsReason(err, fault.OutcomeUnknown) || other.Load() != 0 {
		t.Errorf("Hello at an instance that died = %v, and %d at the other; want %s, 0", err, other.Load(), fault.OutcomeUnknown)
	}
	until(ctx, t, c, func(error) bool { return other.Load() > 0 })
	var again atomic.Int64
	serveAt(c, 0, many, counting(&again))
	until(ctx, t, c, func(error) bool { return again.Load() > 0 })
}

// testBound: invariant 7.
func testBound(t *testing.T, c Cluster) {
	ctx := within(t)
	const limit = 4
	h := newHeld()
	serveAt(c, 0, limit, h.hello)
	var under []<-chan error
	for range limit {
		under = append(under, begin(ctx, c))
		<-h.entered
	}
	for range 20 {
		if _, err := client(c).Hello(ctx, conns("a")); !fault.IsReason(err, fault.Overloaded) || fault.Of(err).RetryAfter <= 0 {
			t.Fatalf("Hello beyond the bound = %v; want %s with advice when to retry", err, fault.Overloaded)
		}
	}
	close(h.free)
	for _, call := range under {
		if err := <-call; err != nil {
			t.Errorf("Hello within the bound = %v; want no error", err)
		}
	}
	until(ctx, t, c, answered)
}

func testLater(t *testing.T, c Cluster) {
	ctx := within(t)
	i := c.Start(0, many)
	if _, err := client(c).Hello(ctx, conns("a")); !fault.IsReason(err, fault.Overloaded) {
		t.Errorf("Hello before its service is there = %v; want %s", err, fault.Overloaded)
	}
	presencev1.RegisterPresenceInternalServiceServer(i.Host, presence{hello: echo})
	until(ctx, t, c, answered)
}

func testTooLarge(t *testing.T, c Cluster) {
	ctx := within(t)
	serveAt(c, 0, many, func(context.Context, *presencev1.HelloRequest) (*presencev1.HelloResponse, error) {
		return &presencev1.HelloResponse{Displaced: conns(string(make([]byte, 9<<20))).GetConnections()}, nil
	})
	if _, err := client(c).Hello(ctx, conns(string(make([]byte, 9<<20)))); !fault.IsReason(err, fault.TooLarge) {
		t.Errorf("Hello(9 MiB) = %v; want %s", err, fault.TooLarge)
	}
	if _, err := client(c).Hello(ctx, conns("a")); !fault.IsReason(err, fault.InternalReason) {
		t.Errorf("Hello with an answer of 9 MiB = %v; want %s", err, fault.InternalReason)
	}
}
