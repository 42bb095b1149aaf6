// Package faststatetest is the conformance suite of the fast state: what every implementation must do, in memory as
// over a network. Each function runs all rules of one interface against fresh states from open.
package faststatetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// A Clock is a time that tests move. Open functions hand its Now to the implementation; one whose clock cannot be set
// returns a Clock that moves the real one, or skips with a reason.
type Clock interface {
	Now() time.Time
	// Advance moves the time on; it need not wait.
	Advance(d time.Duration)
}

// conn returns a connection of a user that began at since.
func conn(user, device, gateway, id string, since time.Time) faststate.Conn {
	return faststate.Conn{
		UserID: chat.UserID(user), DeviceID: chat.DeviceID(device), SessionID: chat.SessionID("s-" + device),
		GatewayID: chat.GatewayID(gateway), ConnectionID: chat.ConnectionID(id),
		Platform: 1, Status: faststate.Online, Since: since,
	}
}

// ids returns the connection ids of conns, in their order.
func ids(conns []faststate.Conn) []string {
	s := make([]string, 0, len(conns))
	for _, c := range conns {
		s = append(s, string(c.GatewayID)+"/"+string(c.ConnectionID))
	}
	return s
}

// same reports whether got are the wanted connections, in any order.
func same(got []faststate.Conn, want ...faststate.Conn) bool {
	if len(got) != len(want) {
		return false
	}
	count := map[string]int{}
	for _, s := range ids(got) {
		count[s]++
	}
	for _, s := range ids(want) {
		count[s]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// p wraps a Presence so that a test reads as a script; every error ends the test.
type p struct {
	t *testing.T
	faststate.Presence
	ctx context.Context
}

func (p p) put(conns ...faststate.Conn) [][]faststate.Conn {
	p.t.Helper()
	others, err := p.Put(p.ctx, conns)
	if err != nil || len(others) != len(conns) {
		p.t.Fatalf("Put(%v) = %d results, %v; want %d, nil", ids(conns), len(others), err, len(conns))
	}
	return others
}

func (p p) remove(at time.Time, conns ...faststate.Conn) string {
	p.t.Helper()
	gone, err := p.Remove(p.ctx, conns, at)
	if err != nil {
		p.t.Fatalf("Remove(%v) = %v; want no error", ids(conns), err)
	}
	return fmt.Sprint(gone)
}

func (p p) lookup(users ...chat.UserID) []faststate.Conn {
	p.t.Helper()
	conns, err := p.Lookup(p.ctx, users)
	if err != nil {
		p.t.Fatalf("Lookup(%v) = %v; want no error", users, err)
	}
	return conns
}

func (p p) renew(g chat.GatewayID, until time.Time) bool {
	p.t.Helper()
	known, err := p.Renew(p.ctx, g, until)
	if err != nil {
		p.t.Fatalf("Renew(%s) = %v; want no error", g, err)
	}
	return known
}

func (p p) sweep(now time.Time) string {
	p.t.Helper()
	gone, err := p.Sweep(p.ctx, now)
	if err != nil {
		p.t.Fatalf("Sweep = %v; want no error", err)
	}
	return fmt.Sprint(gone)
}

func (p p) lastSeen(users ...chat.UserID) []time.Time {
	p.t.Helper()
	at, err := p.LastSeen(p.ctx, users)
	if err != nil || len(at) != len(users) {
		p.t.Fatalf("LastSeen(%v) = %v, %v; want %d times", users, at, err, len(users))
	}
	return at
}
