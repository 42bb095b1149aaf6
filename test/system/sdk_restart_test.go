package system

import (
	"context"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/test/fleet"
)

const (
	fleetRounds = 3
	fleetEach   = 600              // messages that are acknowledged before each fault
	fleetWait   = 90 * time.Second // for anything; the tests' only bound on time
)

// restarts is a fleet whose server goes away and comes back.
type restarts struct {
	*fleet.Fleet
	t  *testing.T
	s  *server
	at *whereabouts
}

func launch(t *testing.T) *restarts {
	t.Helper()
	r := &restarts{t: t, s: start(t), at: &whereabouts{}}
	r.at.moved(r.s)
	var err error
	r.Fleet, err = fleet.Launch(within(t, fleetWait), fleet.Options{
		URL: r.s.base, TCP: "tcp://tcp.invalid:1", Dial: r.at.dial, Name: "f", Size: 12, Every: 10 * time.Millisecond, Ahead: 64, Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// through takes the server down and up again while everyone sends, and reports how long it takes until the last client
// is in sync: online, and with every entry that was acknowledged when the server was back.
func (r *restarts) through(round int, down func()) {
	r.t.Helper()
	if round > 0 { // the clients begin anew too: one that comes from a failure waits longer after the next
		r.must(r.Settle(within(r.t, fleetWait)))
		for _, b := range r.Boats {
			b.Moor()
			if err := b.Sail(within(r.t, fleetWait)); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	ctx, stop := context.WithCancel(r.t.Context())
	talked := make(chan struct{})
	go func() {
		defer close(talked)
		r.Talk(ctx)
	}()
	before := r.Check.AckedCount()
	r.must(r.Until(within(r.t, fleetWait), "acknowledged", func(*fleet.Boat) bool { return r.Check.AckedCount() >= before+fleetEach }))
	began := time.Now()
	down()
	stop() // a slow machine must come to an end, too
	ended := time.Now()
	r.s.up()
	up := time.Now()
	r.at.moved(r.s)
	for _, b := range r.Boats {
		b.User.Base = r.s.base
	}
	r.must(r.Until(within(r.t, fleetWait), "online", (*fleet.Boat).Online))
	online := time.Now()
	r.must(r.InSync(within(r.t, fleetWait), r.Heads()))
	synced := time.Now()
	<-talked
	r.t.Logf("round %d: %d acknowledged; the server was ended in %v and back after %v; the last of %d clients online %v and in sync %v after it was ready; %v in all",
		round, r.Check.AckedCount(), ms(ended.Sub(began)), ms(up.Sub(ended)), len(r.Boats), ms(online.Sub(up)), ms(synced.Sub(up)), ms(synced.Sub(began)))
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

func (r *restarts) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// judge compares what everyone saw with the logs.
func (r *restarts) judge() {
	r.t.Helper()
	wrong, err := r.Judge(within(r.t, fleetWait))
	r.must(err)
	for _, w := range wrong {
		r.t.Error(w)
	}
}

// Invariants 1 to 3, with clients of the SDK: kill -9 under load, several rounds. Nothing is lost, nothing is doubled,
// everyone gets everything once and in order.
func TestSDKFleetKilled(t *testing.T) {
	r := launch(t)
	for round := range fleetRounds {
		r.through(round, r.s.kill)
	}
	r.judge()
}

// The same for a server that is asked to end and leaves politely.
func TestSDKFleetRestarted(t *testing.T) {
	r := launch(t)
	for round := range fleetRounds - 1 {
		r.through(round, func() {
			if code := r.s.stop(); code != 0 {
				t.Errorf("exit code after SIGTERM = %d; want 0", code)
			}
		})
	}
	r.judge()
}
