package faststatetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// lease is how long the suite's gateways renew for.
const lease = 15 * time.Second

// TestPresence runs every rule of faststate.Presence (PRES-1, PRES-2). In each state that a test gets, gateways "g1"
// and "g2" have just renewed.
func TestPresence(t *testing.T, open func(t *testing.T) (faststate.Presence, Clock)) {
	tests := []struct {
		name string
		run  func(p, Clock)
	}{
		{"put and look up", testPut},
		{"a device has one connection", testReplace},
		{"registering again updates", testAgain},
		{"a late registration does not replace what is newer", testOutlives},
		{"racing connections of a device leave one", testPutRace},
		{"a slow goodbye leaves a newer hello", testSlowGoodbye},
		{"last seen", testLastSeen},
		{"a lease that ends takes all users off line", testLeaseEnds},
		{"a new lease does not bring old connections back", testLeaseAgain},
		{"no lease, no connection", testNoLease},
		{"sweep", testSweep},
		{"batches keep their order", testBatch},
		{"large batches", testLargeBatch},
		{"arguments and answers are not shared", testNotShared},
		{"everything at once", testPresenceRace},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			state, clock := open(t)
			p := p{t, state, t.Context()}
			p.renew("g1", clock.Now().Add(lease))
			p.renew("g2", clock.Now().Add(lease))
			tt.run(p, clock)
		})
	}
}

func testPut(p p, clock Clock) {
	now := clock.Now().Truncate(time.Millisecond)
	phone, web := conn("ann", "phone", "g1", "c1", now), conn("ann", "web", "g2", "c1", now)
	web.Status, web.Platform = faststate.Away, 6
	bob := conn("bob", "phone", "g1", "c2", now)
	if got := p.put(phone)[0]; len(got) != 0 {
		p.t.Errorf("Put of the first connection = %v; want nothing besides", ids(got))
	}
	if got := p.put(web)[0]; !same(got, phone) {
		p.t.Errorf("Put of the second device = %v; want the first one's", ids(got))
	}
	p.put(bob)
	if got := p.lookup("bob", "nobody", "ann"); !same(got, bob, phone, web) {
		p.t.Errorf("Lookup(bob, nobody, ann) = %v; want bob's one and ann's two", ids(got))
	}
	got := p.lookup("bob")
	same := cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })
	if diff := cmp.Diff([]faststate.Conn{bob}, got, same); diff != "" {
		p.t.Errorf("Lookup(bob) (-want +got):\n%s", diff)
	}
}

func testReplace(p p, clock Clock) {
	first := conn("ann", "phone", "g1", "c1", clock.Now())
	other := conn("ann", "web", "g1", "c2", clock.Now())
	p.put(first, other)
	clock.Advance(time.Second)
	second := conn("ann", "phone", "g2", "c9", clock.Now())
	if got := p.put(second)[0]; !same(got, first, other) {
		p.t.Errorf("Put of the same device = %v; want the replaced one and the other device's", ids(got))
	}
	if got := p.lookup("ann"); !same(got, second, other) {
		p.t.Errorf("Lookup = %v; want the new one and the other device's", ids(got))
	}
}

func testAgain(p p, clock Clock) {
	c := conn("ann", "phone", "g1", "c1", clock.Now())
	p.put(c)
	c.Status = faststate.Away
	if got := p.put(c)[0]; len(got) != 0 {
		p.t.Errorf("Put of the same connection = %v; want nothing", ids(got))
	}
	if got := p.lookup("ann"); len(got) != 1 || got[0].Status != faststate.Away {
		p.t.Errorf("Lookup = %v; want it once and away", got)
	}
}

func testOutlives(p p, clock Clock) {
	old := conn("ann", "phone", "g1", "c1", clock.Now().Add(-time.Minute))
	fresh := conn("ann", "phone", "g2", "c1", clock.Now())
	p.put(fresh)
	if got := p.put(old)[0]; !same(got, fresh) {
		p.t.Errorf("Put of a connection a minute older = %v; want the newer one", ids(got))
	}
	if got := p.lookup("ann"); !same(got, fresh) {
		p.t.Errorf("Lookup = %v; want the newer one", ids(got))
	}
	skewed := conn("ann", "phone", "g1", "c2", clock.Now().Add(-faststate.MaxSkew))
	p.put(skewed)
	if got := p.lookup("ann"); !same(got, skewed) {
		p.t.Errorf("Lookup after a registration within the clocks' skew = %v; want the last one", ids(got))
	}
}

// testPutRace: of connections of one device that race, one is recorded, and every other one was returned to somebody,
// who closes it.
func testPutRace(p p, clock Clock) {
	const n = 32
	var mu sync.Mutex
	displaced := map[string]bool{}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			c := conn("ann", "phone", fmt.Sprintf("g%d", 1+i%2), fmt.Sprintf("c%d", i), clock.Now())
			others, err := p.Put(p.ctx, []faststate.Conn{c})
			if err != nil || len(others) != 1 {
				p.t.Errorf("Put = %v, %v; want one result", others, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, id := range ids(others[0]) {
				displaced[id] = true
			}
		})
	}
	wg.Wait()
	got := p.lookup("ann")
	if len(got) != 1 || len(displaced) != n-1 || displaced[ids(got)[0]] {
		p.t.Errorf("after %d racing connections: %v recorded, %d displaced; want one and the %d others",
			n, ids(got), len(displaced), n-1)
	}
}

func testSlowGoodbye(p p, clock Clock) {
	first := conn("ann", "phone", "g1", "c1", clock.Now())
	second := conn("ann", "phone", "g2", "c1", clock.Now())
	third := conn("ann", "phone", "g2", "c2", clock.Now())
	p.put(first)
	p.put(second)
	if got := p.remove(clock.Now(), first); got != "[]" {
		p.t.Errorf("Remove of what was replaced = %s; want []", got)
	}
	p.put(third)
	if got := p.remove(clock.Now(), second); got != "[]" {
		p.t.Errorf("Remove of what was replaced at the same gateway = %s; want []", got)
	}
	if got := p.lookup("ann"); !same(got, third) {
		p.t.Errorf("Lookup = %v; want the newest", ids(got))
	}
	if got := p.remove(clock.Now(), third, third); got != "[ann]" {
		p.t.Errorf("Remove of the last, twice = %s; want [ann]", got)
	}
	if got := p.lookup("ann"); len(got) != 0 {
		p.t.Errorf("Lookup = %v; want nothing", ids(got))
	}
}

func testLastSeen(p p, clock Clock) {
	at := clock.Now().Truncate(time.Millisecond)
	phone, web := conn("ann", "phone", "g1", "c1", at), conn("ann", "web", "g1", "c2", at)
	p.put(phone, web)
	if got := p.remove(at, phone); got != "[]" {
		p.t.Errorf("Remove of one of two = %s; want []", got)
	}
	if got := p.lastSeen("ann")[0]; !got.IsZero() {
		p.t.Errorf("LastSeen while on line for the first time = %v; want not known", got)
	}
	at = at.Add(time.Second)
	if got := p.remove(at, web); got != "[ann]" {
		p.t.Errorf("Remove of the last = %s; want [ann]", got)
	}
	if got := p.lastSeen("bob", "ann"); !got[0].IsZero() || !got[1].Equal(at) {
		p.t.Errorf("LastSeen(bob, ann) = %v; want not known and %v", got, at)
	}
}

func testLeaseEnds(p p, clock Clock) {
	var users []chat.UserID
	var conns []faststate.Conn
	for i := range 100 {
		users = append(users, chat.UserID(fmt.Sprintf("u%d", i)))
		conns = append(conns, conn(string(users[i]), "phone", "g1", fmt.Sprintf("c%d", i), clock.Now()))
	}
	stays := conn("u0", "web", "g2", "c1", clock.Now())
	p.put(append(conns, stays)...)
	clock.Advance(lease / 2)
	if !p.renew("g2", clock.Now().Add(lease)) {
		p.t.Error("Renew(g2) in time = false; want true")
	}
	if got := p.lookup(users...); len(got) != len(conns)+1 {
		p.t.Fatalf("Lookup while both leases live = %d; want %d", len(got), len(conns)+1)
	}
	clock.Advance(lease/2 + time.Second)
	if got := p.lookup(users...); !same(got, stays) {
		p.t.Errorf("Lookup after g1's lease ended = %v; want g2's alone", ids(got))
	}
	next := conn("u0", "phone", "g2", "c2", clock.Now())
	if got := p.put(next)[0]; !same(got, stays) {
		p.t.Errorf("Put = %v besides; want only the living gateway's", ids(got))
	}
}

func testLeaseAgain(p p, clock Clock) {
	c := conn("ann", "phone", "g1", "c1", clock.Now())
	p.put(c)
	clock.Advance(lease + time.Second)
	if p.renew("g1", clock.Now().Add(lease)) {
		p.t.Error("Renew after the lease ended = true; want false")
	}
	if got := p.lookup("ann"); len(got) != 0 {
		p.t.Errorf("Lookup before registering again = %v; want nothing", ids(got))
	}
	p.put(c)
	if !p.renew("g1", clock.Now().Add(lease)) {
		p.t.Error("Renew of the new lease = false; want true")
	}
	if got := p.sweep(clock.Now()); got != "[g2]" {
		p.t.Errorf("Sweep = %s; want [g2]", got)
	}
	if got := p.lookup("ann"); !same(got, c) {
		p.t.Errorf("Lookup after registering again = %v; want it", ids(got))
	}
}

func testNoLease(p p, clock Clock) {
	c := conn("ann", "phone", "g9", "c1", clock.Now())
	p.put(c)
	if got := p.lookup("ann"); len(got) != 0 {
		p.t.Errorf("Lookup of a gateway's that never renewed = %v; want nothing", ids(got))
	}
	if p.renew("g9", clock.Now().Add(lease)) {
		p.t.Error("first Renew = true; want false, so that the gateway registers")
	}
	p.put(c)
	if got := p.lookup("ann"); !same(got, c) {
		p.t.Errorf("Lookup = %v; want the connection", ids(got))
	}
}

func testSweep(p p, clock Clock) {
	until := clock.Now().Add(lease)
	gone, half := conn("ann", "phone", "g1", "c1", clock.Now()), conn("bob", "phone", "g1", "c2", clock.Now())
	stays := conn("bob", "web", "g2", "c1", clock.Now())
	p.put(gone, half, stays)
	if got := p.sweep(clock.Now()); got != "[]" {
		p.t.Errorf("Sweep while leases live = %s; want []", got)
	}
	clock.Advance(lease - time.Second)
	p.renew("g2", clock.Now().Add(lease))
	clock.Advance(2 * time.Second)
	if got := p.sweep(clock.Now()); got != "[g1]" {
		p.t.Errorf("Sweep = %s; want [g1]", got)
	}
	if got := p.sweep(clock.Now()); got != "[]" {
		p.t.Errorf("second Sweep = %s; want []", got)
	}
	seen := p.lastSeen("ann", "bob")
	if d := seen[0].Sub(until); d < -time.Second || d > time.Second {
		p.t.Errorf("LastSeen(ann) = %v; want the end of the lease, %v", seen[0], until)
	}
	if !seen[1].IsZero() {
		p.t.Errorf("LastSeen(bob), who is still on line = %v; want not known", seen[1])
	}
	if p.renew("g1", clock.Now().Add(lease)) {
		p.t.Error("Renew after Sweep = true; want false")
	}
	if got := p.lookup("ann", "bob"); !same(got, stays) {
		p.t.Errorf("Lookup = %v; want g2's alone", ids(got))
	}
}

func testBatch(p p, clock Clock) {
	a1, a2 := conn("ann", "phone", "g1", "c1", clock.Now()), conn("ann", "phone", "g1", "c2", clock.Now())
	b := conn("bob", "phone", "g1", "c3", clock.Now())
	got := p.put(a1, b, a2)
	if !same(got[0]) || !same(got[1]) || !same(got[2], a1) {
		p.t.Errorf("Put(a1, b, a2) = %v; want nothing, nothing, a1", got)
	}
	if got := ids(p.lookup("bob", "ann")); fmt.Sprint(got) != "[g1/c3 g1/c2]" {
		p.t.Errorf("Lookup(bob, ann) = %v; want bob's, then ann's newest", got)
	}
	if got := p.put(); len(got) != 0 {
		p.t.Errorf("Put() = %v; want nothing", got)
	}
	if got := p.lookup(); len(got) != 0 {
		p.t.Errorf("Lookup() = %v; want nothing", got)
	}
}

// testLargeBatch: PRES-2: thousands of users in one call, in the order asked, also who is asked for twice.
func testLargeBatch(p p, clock Clock) {
	const n = 3000
	var conns []faststate.Conn
	var users []chat.UserID
	var want []string
	for i := range n {
		user := fmt.Sprintf("u%d", i)
		users = append(users, chat.UserID(user), "nobody")
		conns = append(conns, conn(user, "phone", "g1", "first-"+user, clock.Now()))
		conns = append(conns, conn(user, "phone", "g2", "c-"+user, clock.Now()))
		want = append(want, "g2/c-"+user)
	}
	others := p.put(conns...)
	for i, o := range others {
		if replaced := i%2 == 1; replaced && !same(o, conns[i-1]) || !replaced && len(o) != 0 {
			p.t.Fatalf("Put of %d connections: number %d found %v; want what its device had before", len(conns), i, ids(o))
		}
	}
	users = append(users, users[:2]...)
	want = append(want, want[0])
	if diff := cmp.Diff(want, ids(p.lookup(users...))); diff != "" {
		p.t.Errorf("Lookup of %d users (-want +got):\n%s", len(users), diff)
	}
	at := clock.Now().Truncate(time.Millisecond)
	gone, err := p.Remove(p.ctx, conns, at)
	if err != nil || len(gone) != n {
		p.t.Errorf("Remove of all = %d users, %v; want %d", len(gone), err, n)
	}
	for i, seen := range p.lastSeen(users...) {
		if known := users[i] != "nobody"; known && !seen.Equal(at) || !known && !seen.IsZero() {
			p.t.Fatalf("LastSeen(%s) = %v; want %v if it was on line", users[i], seen, at)
		}
	}
}

func testNotShared(p p, clock Clock) {
	c := conn("ann", "phone", "g1", "c1", clock.Now())
	batch := []faststate.Conn{c}
	p.put(batch...)
	batch[0].UserID = "changed"
	p.lookup("ann")[0].ConnectionID = "changed"
	if got := p.lookup("ann"); !same(got, c) {
		p.t.Errorf("Lookup = %v; want what was put", ids(got))
	}
}

// testPresenceRace lets everything run against everything, for the race detector; in the end the counts must be right.
func testPresenceRace(p p, clock Clock) {
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			user := fmt.Sprintf("u%d", w/2)
			for i := range 50 {
				c := conn(user, fmt.Sprintf("d%d", w%2), "g1", fmt.Sprintf("c%d-%d", w, i), clock.Now())
				_, err1 := p.Put(p.ctx, []faststate.Conn{c})
				_, err2 := p.Lookup(p.ctx, []chat.UserID{"u0", "u1", "u2", "u3"})
				_, err3 := p.Remove(p.ctx, []faststate.Conn{c}, clock.Now())
				_, err4 := p.Renew(p.ctx, "g1", clock.Now().Add(lease))
				_, err5 := p.Sweep(p.ctx, clock.Now())
				_, err6 := p.LastSeen(p.ctx, []chat.UserID{"u0"})
				for _, err := range []error{err1, err2, err3, err4, err5, err6} {
					if err != nil {
						p.t.Errorf("concurrent use = %v; want no error", err)
					}
				}
			}
		})
	}
	wg.Wait()
	if got := p.lookup("u0", "u1", "u2", "u3"); len(got) != 0 {
		p.t.Errorf("Lookup when all have left = %v; want nothing", ids(got))
	}
}
