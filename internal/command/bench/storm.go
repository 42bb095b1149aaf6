package bench

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

const (
	stormDialing  = 400 // connections that come back at a time, where the server is our own
	stormForeign  = 40  // and elsewhere: a server takes 50 of one address that have not connected yet
	goneWithin    = 20 * time.Second
	stormSettling = 2 * time.Second
)

// stormRow says how long it takes until everybody is back whose connection broke at the same moment.
type stormRow struct {
	Disk        percentiles   `json:"disk"`
	Connections int           `json:"connections"`
	AtATime     int           `json:"atATime"` // how many the client dials at once
	Took        time.Duration `json:"tookNs"`  // until the last was connected
	// Since is from the moment of the break, when all are due, to the answer of connect; Each from the dialing.
	Since percentiles `json:"sinceBreak"`
	Each  percentiles `json:"each"`

	ConnectCPU float64 `json:"cpuUsPerConnect"` // of a server of our own, or a cluster

	Database *databaseCost `json:"database,omitempty"`
	Error    string        `json:"error,omitempty"`
}

func (b *bench) storm(ctx context.Context) {
	row := &stormRow{Connections: b.stormConns, AtATime: stormForeign}
	row.Error = b.report.fail("storm", b.measureStorm(ctx, row))
	b.report.Storm = row
}

func (b *bench) measureStorm(ctx context.Context, row *stormRow) error {
	if !b.own() {
		return b.at(ctx, "", b.stormConns, func(ctx context.Context, p place) error { return b.stormAt(ctx, p, row) })
	}
	var err error
	if row.Disk, err = probe(b.work); err != nil {
		return err
	}
	dir, err := b.fresh(b.seeded)
	if err != nil {
		return err
	}
	row.AtATime = stormDialing
	more := *b // with a server that does not think of an attack
	more.server = append([]string{"--ws-gateway-unauthenticated-per-ip", strconv.Itoa(2 * stormDialing)}, b.server...)
	return more.serve(ctx, dir, b.syncs[0], func(ctx context.Context, p place) error { return b.stormAt(ctx, p, row) })
}

func (b *bench) stormAt(ctx context.Context, p place, row *stormRow) error {
	of := b.accounts.all[:row.Connections]
	if err := gone(ctx, p); err != nil { // who was there for another row
		return err
	}
	first := &crowd{}
	defer first.leave()
	if err := first.enter(ctx, p.doors, b.wire, of, dialing, b.progress, nil); err != nil {
		return err
	}
	if err := pause(ctx, stormSettling); err != nil {
		return err
	}
	b.progress.say("storm: %d connections break and come back", row.Connections)
	first.leave()
	if err := gone(ctx, p); err != nil {
		return err
	}
	return b.comeBack(ctx, p, of, row)
}

// connections returns how many there are, as far as the server tells; else 0.
func (p place) connections() (int, error) {
	w := p.watched()
	if w == nil {
		return 0, nil
	}
	m, err := w.metrics()
	return int(m[connected]), err
}

// gone waits until the server has noticed that nobody of ours is there, so that what follows is of its own connections
// only.
func gone(ctx context.Context, p place) error {
	if p.watched() == nil {
		return pause(ctx, stormSettling)
	}
	others := 0
	if p.cluster != nil {
		others = p.cluster.strangers
	}
	for begun := time.Now(); ; {
		n, err := p.connections()
		if err != nil || n <= others {
			return err
		}
		if time.Since(begun) > goneWithin {
			return fmt.Errorf("the server still counts %d connections, %v after they broke", n-others, goneWithin)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func (b *bench) comeBack(ctx context.Context, p place, of []account, row *stormRow) error {
	var from time.Duration
	var err error
	var asked databaseCount
	w := p.watched()
	if w != nil {
		asked = w.database()
		if from, err = w.cpu(); err != nil {
			return err
		}
	}
	since, each := make([]time.Duration, len(of)), make([]time.Duration, len(of))
	back := &crowd{}
	defer back.leave()
	begun := time.Now()
	err = back.enter(ctx, p.doors, b.wire, of, row.AtATime, b.progress, func(i int, began time.Time) {
		since[i], each[i] = time.Since(begun), time.Since(began)
	})
	if err != nil {
		return err
	}
	row.Took = time.Since(begun)
	row.Since, row.Each = percentilesOf(since), percentilesOf(each)
	if w != nil {
		to, err := w.cpu()
		if err != nil {
			return err
		}
		row.ConnectCPU, row.Database = perUnit(to-from, len(of)), w.database().since(asked)
	}
	if n := back.lost.Load(); n > 0 {
		return fmt.Errorf("%d of %d connections were lost again", n, len(of))
	}
	return nil
}
