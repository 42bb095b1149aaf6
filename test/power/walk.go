package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/test/fleet"
	"github.com/oceanchat/oceanchat/test/power/disk"
	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// How long anything may take: a start, a cut with everything that belongs to it, and what a disk is let do before a cut.
const (
	startWithin = 30 * time.Second
	cutWithin   = 2 * time.Minute
	syncsWithin = 20 * time.Second
	// lossWithin is how old the oldest message may be that interval loses: the interval, and the time until a sync
	// that is due is done.
	lossWithin = 2 * time.Second
)

// walk is one server whose power is cut again and again.
type walk struct {
	f   flags
	dir string
	out io.Writer
	rnd *rand.Rand
}

// keeping is what a disk keeps of what was not synced.
type keeping struct {
	names disk.Names
	keep  float64
	page  int
}

func (k keeping) options(seed uint64) disk.Options {
	return disk.Options{Names: k.names, Keep: k.keep, Page: k.page, Seed: seed}
}

func (k keeping) String() string {
	if k.keep == 0 {
		return "none kept"
	}
	return fmt.Sprintf("some kept (%d)", k.page)
}

// keeping chooses what the next disk keeps.
func (w *walk) keeping() keeping {
	k := keeping{names: w.f.names, page: 512 << (3 * w.rnd.IntN(2))}
	share := 0.1 + 0.8*w.rnd.Float64()
	if any := w.rnd.IntN(2) == 0; w.f.keep == "some" || w.f.keep == "any" && any {
		k.keep = share
	}
	return k
}

// settings are those of every server: as fast as it can.
func settings() []string {
	return []string{"OCEANCHAT_API_GATEWAY_RATE_LIMIT=0", "OCEANCHAT_ROUTER_RATE_LIMIT=0", "OCEANCHAT_AUTH_ACCESS_TTL=24h"}
}

// machine describes a server with an empty disk.
func (w *walk) machine(ctx context.Context, name string) (*machine, error) {
	dir := filepath.Join(w.dir, w.f.sync+"-"+name)
	p, err := local.Single(ctx, local.Options{Dir: dir, Binary: w.f.binary}, append(settings(), "OCEANCHAT_LOG_SYNC="+w.f.sync), nil)
	if err != nil {
		return nil, err
	}
	return &machine{procs: []*local.Process{p}, shelfs: []*shelf{{dir: filepath.Join(dir, "data")}}}, nil
}

// again starts a machine on what is left; every second time the power goes once more while it does. It returns how long
// the start took that went through.
func (w *walk) again(ctx context.Context, m *machine) (time.Duration, error) {
	m.cutAt(w.rnd, w.rnd.IntN(2)*(1+w.rnd.IntN(30)))
	for {
		began := time.Now()
		err := m.start(ctx)
		if err == nil && m.stay() {
			return time.Since(began), nil
		}
		if err == nil {
			err = errCut
		}
		if !errors.Is(err, errCut) {
			return 0, fmt.Errorf("it does not start on what is left: %w", err)
		}
		if err := m.off(w.keeping(), w.rnd.Uint64()); err != nil {
			return 0, err
		}
	}
}

// firstStarts cuts the power during the very first start, at one sync after another.
func (w *walk) firstStarts(ctx context.Context) (err error) {
	if w.f.starts == 0 {
		return nil
	}
	m, err := w.machine(ctx, "starts")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	res := row{name: "during the very first start", sync: w.f.sync, names: w.f.names}
	m.empty(w.keeping(), w.rnd.Uint64())
	if err := m.start(ctx); err != nil {
		return err
	}
	syncs := max(m.shelfs[0].disk.Syncs(), 1)
	for i := range w.f.starts {
		if err := m.off(w.keeping(), w.rnd.Uint64()); err != nil {
			return err
		}
		m.empty(w.keeping(), w.rnd.Uint64())
		n := 1 + (i*syncs+w.rnd.IntN(syncs))/w.f.starts
		if err := w.firstStart(ctx, m, n, i, &res); err != nil {
			res.problems = append(res.problems, fmt.Sprintf("cut at sync %d: %v", n, err))
			break
		}
	}
	return res.tell(w.out)
}

func (w *walk) firstStart(ctx context.Context, m *machine, n, i int, res *row) error {
	ctx, cancel := context.WithTimeoutCause(ctx, cutWithin, errors.New("the cut takes too long"))
	defer cancel()
	m.cutAt(w.rnd, n)
	if err := m.start(ctx); err != nil && !errors.Is(err, errCut) {
		return err
	}
	if err := m.off(w.keeping(), w.rnd.Uint64()); err != nil {
		return err
	}
	took, err := w.again(ctx, m)
	if err != nil {
		return err
	}
	res.cuts++
	res.back = max(res.back, took)
	c := &clerk{url: "http://" + m.procs[0].HTTP, prefix: fmt.Sprintf("s%02d", i)}
	for range 2 {
		c.once(ctx)
	}
	if len(c.groups) == 0 {
		res.problems = append(res.problems, "no group can be made after the start")
	}
	res.problems = append(res.problems, c.check(ctx)...)
	return nil
}

// talk cuts the power while people talk.
func (w *walk) talk(ctx context.Context) (err error) {
	if w.f.cuts == 0 {
		return nil
	}
	m, err := w.machine(ctx, "talk")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	m.empty(w.keeping(), w.rnd.Uint64())
	if err := m.start(ctx); err != nil {
		return err
	}
	t, err := w.people(ctx, "http://"+m.procs[0].HTTP, m.procs[0].TCP, clerkEvery)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.fleet.Close()) }()
	return t.cuts(ctx, "while people talk", lossWithin, func() *machine { return m })
}

// people has them come; pace is that of the clerk.
func (w *walk) people(ctx context.Context, url, tcp string, pace time.Duration) (*talk, error) {
	stores, err := os.MkdirTemp(w.dir, "clients-")
	if err != nil {
		return nil, err
	}
	f, err := fleet.Launch(ctx, fleet.Options{
		URL: url, TCP: "tcp://" + tcp, Name: "p", Size: w.f.clients, Every: w.f.every, Ahead: 64, Dir: stores, Loses: w.f.sync != "always",
	})
	if err != nil {
		return nil, err
	}
	return &talk{walk: w, fleet: f, clerk: &clerk{url: url, prefix: "t", every: pace}}, nil
}

// cuts has the power of a machine go again and again, of one that is chosen before each cut. within is how old may be what is lost.
func (t *talk) cuts(ctx context.Context, name string, within time.Duration, choose func() *machine) error {
	t.res = row{name: name, sync: t.f.sync, names: t.f.names, within: within}
	before := t.fleet.Check.AckedCount()
	for i := range t.f.cuts {
		t.m = choose()
		err := t.cut(ctx)
		if err != nil && t.mayStick() && ctx.Err() == nil {
			t.res.stuck = fmt.Sprintf("cut %d: %v", i+1, err)
			break
		}
		if err != nil {
			t.res.problems = append(t.res.problems, fmt.Sprintf("cut %d: %v", i+1, err))
			break
		}
		if len(t.res.problems) > 0 {
			break
		}
	}
	t.res.acked = t.fleet.Check.AckedCount() - before + len(t.res.lost)
	err := t.res.tell(t.out)
	if err == nil && t.res.stuck != "" {
		return errStuck
	}
	return err
}

// errStuck says that a cluster does not go on by itself.
var errStuck = errors.New("it does not go on by itself")

// mayStick tells whether what is left after a cut may be of no use: NATS servers that sync now and then may disagree for good.
func (t *talk) mayStick() bool { return t.keeps != nil && t.f.sync != "always" }

// talk is people on a machine.
type talk struct {
	*walk
	m     *machine
	fleet *fleet.Fleet
	clerk *clerk
	keeps *keeper // nil: one process
	res   row
}

// cut cuts the power once, at a sync or at any moment, and judges.
func (t *talk) cut(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, cutWithin, errors.New("the cut takes too long"))
	defer cancel()
	talking, stop := context.WithCancel(ctx)
	defer stop()
	var load sync.WaitGroup
	load.Go(func() { t.fleet.Talk(talking) })
	load.Go(func() { t.clerk.work(talking) })
	at, err := t.power(ctx)
	stop()
	load.Wait()
	if err != nil {
		return err
	}
	problems, err := t.fleet.Judge(ctx)
	if err != nil {
		return err
	}
	t.res.cuts++
	t.res.problems = append(append(t.res.problems, problems...), t.clerk.check(ctx)...)
	t.res.end(t.keeps.took())
	t.res.count(t.fleet.Lost(), at)
	for _, s := range t.fleet.Stale() {
		t.res.problems = append(t.res.problems, "stale: "+s)
	}
	return nil
}

// power has the power go and come back, and waits until people hear of each other again.
func (t *talk) power(ctx context.Context) (at time.Time, err error) {
	if err := t.heard(ctx); err != nil {
		return at, err
	}
	t.fleet.Mark()
	n, after := 1+t.rnd.IntN(150), time.Duration(t.rnd.Int64N(int64(2500*time.Millisecond)))
	if t.rnd.IntN(2) == 0 {
		t.m.cutAt(t.rnd, n)
		after = syncsWithin
	}
	if at, err = t.m.cut(ctx, after); err != nil {
		return at, err
	}
	if err := t.m.off(t.keeping(), t.rnd.Uint64()); err != nil {
		return at, err
	}
	took, err := t.again(ctx, t.m)
	switch {
	case errors.Is(err, errSlow) && t.mayStick() && t.m.stay():
		t.res.sick++
	case err != nil:
		return at, err
	}
	t.res.back = max(t.res.back, took)
	err = t.heard(ctx)
	_, silent := t.fleet.Since()
	t.res.silent = max(t.res.silent, silent)
	return at, err
}

// heard waits until messages are acknowledged, and everyone has them.
func (t *talk) heard(ctx context.Context) error {
	f := t.fleet
	since := f.Check.AckedCount()
	return f.Until(ctx, "online and heard", func(b *fleet.Boat) bool {
		return online(b) && f.Check.AckedCount() >= since+2*len(f.Boats)
	})
}

// online tells whether a client is. One that waits is told to try now: as each cut comes soon after another, it would wait
// longer and longer.
func online(b *fleet.Boat) bool {
	if b.State().Phase == oceanchat.Waiting {
		b.Probe()
	}
	return b.Online()
}
