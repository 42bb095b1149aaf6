package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oceanchat/oceanchat/test/client"
	"github.com/oceanchat/oceanchat/test/fleet"
)

// How long anything may take: a fault with everything that belongs to it, and getting in sync after one.
const (
	faultWithin = 4 * time.Minute
	syncWithin  = 90 * time.Second
	probeEvery  = 100 * time.Millisecond
	probeWithin = 3 * time.Second
)

// runner does one fault after another.
type runner struct {
	w     *world
	out   io.Writer
	short bool
	rows  []row

	mu  sync.Mutex // guards rnd
	rnd *rand.Rand
}

// row is what a fault did.
type row struct {
	name     string
	times    int
	reads    int            // requests of a plain client
	failed   map[string]int // of them, by reason
	lost     int            // connections
	silence  time.Duration  // the longest without an acknowledgement
	back     time.Duration  // the longest until the last client was in sync, from the time when the fault was over
	acked    int
	problems []string
}

// between returns a time by chance.
func (r *runner) between(least, most time.Duration) time.Duration {
	return least + time.Duration(r.below(int64(most-least)))
}

// below returns a number from 0 to n-1 by chance.
func (r *runner) below(n int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rnd.Int64N(n)
}

// shorter returns full, or short in the short suite.
func (r *runner) shorter(full, short time.Duration) time.Duration {
	if r.short {
		return short
	}
	return full
}

// row runs a fault under load as often as it says, within a time, and judges. An error ends the run: nothing that came after it would
// mean anything.
func (r *runner) row(ctx context.Context, x fault, within time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, errors.New("the fault takes too long"))
	defer cancel()
	f := r.w.fleet
	res := row{name: x.name, times: x.times, failed: map[string]int{}}
	before := f.Check.AckedCount()
	probing, stop := context.WithCancel(ctx)
	defer stop()
	var load sync.WaitGroup
	load.Go(func() { r.probe(probing, &res) })
	hush := r.talk(ctx)
	defer func() { hush() }()
	err := f.Until(ctx, "online", func(*fleet.Boat) bool { return f.Check.AckedCount() >= before+2*len(f.Boats) })
	f.Mark()
	for i := 0; err == nil && i < x.times; i++ {
		if err = sleep(ctx, r.between(0, time.Second)); err != nil {
			break
		}
		if x.quiet {
			hush()
			err = f.Settle(ctx)
		}
		if err == nil {
			err = x.run(ctx, r)
		}
		if x.quiet {
			hush = r.talk(ctx)
		}
		if err == nil {
			err = r.after(ctx, &res)
		} else {
			err = fmt.Errorf("%s: %w", x.name, err)
		}
	}
	res.lost, res.silence = f.Since()
	stop()
	hush()
	load.Wait()
	if err == nil {
		res.problems, err = f.Judge(ctx)
	}
	if err != nil {
		res.problems = append(res.problems, err.Error())
	}
	res.acked = f.Check.AckedCount() - before
	r.rows = append(r.rows, res)
	_, _ = fmt.Fprint(r.out, res.line())
	for _, p := range res.problems {
		_, _ = fmt.Fprintln(r.out, "  WRONG:", p)
	}
	if err == nil && len(res.problems) > 0 {
		err = fmt.Errorf("%s: %d things are wrong", x.name, len(res.problems))
	}
	return err
}

// talk lets people talk until hush is called.
func (r *runner) talk(ctx context.Context) (hush func()) {
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.w.fleet.Talk(ctx)
	}()
	return func() {
		stop()
		<-ended
	}
}

// after waits until everyone has what was acknowledged until a fault was over, and a little more: what a fault leaves behind may show only
// then.
func (r *runner) after(ctx context.Context, res *row) error {
	over, f := time.Now(), r.w.fleet
	ctx, cancel := context.WithTimeoutCause(ctx, syncWithin, errors.New("not in sync in time"))
	defer cancel()
	since := f.Check.AckedCount()
	enough := func(*fleet.Boat) bool { return f.Check.AckedCount() >= since+2*len(f.Boats) }
	if err := f.Until(ctx, "heard after the fault", enough); err != nil {
		return err
	}
	if err := f.InSync(ctx, f.Heads()); err != nil {
		return err
	}
	res.back = max(res.back, time.Since(over))
	return nil
}

// probe reads the latest of the group again and again, as a plain client that repairs nothing, and counts what fails.
func (r *runner) probe(ctx context.Context, res *row) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	path := "/conversations/g~" + r.w.fleet.Group + "/messages?limit=5"
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		once, cancel := context.WithTimeout(ctx, probeWithin)
		err := r.w.reader.Do(once, "GET", path, nil, nil)
		late := once.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return
		}
		res.reads++
		switch reason := client.ReasonOf(err); {
		case err == nil:
		case late:
			res.failed["no answer within 3 s"]++
		case reason == "?":
			res.failed["connection refused or cut"]++
		default:
			res.failed[reason]++
		}
	}
}

// walk does faults by chance for a time, each judged, and tells of all of them in one row.
func (r *runner) walk(ctx context.Context, list []fault, limit time.Duration, seed uint64) error {
	list = slices.DeleteFunc(slices.Clone(list), func(x fault) bool { return x.quiet })
	before := len(r.rows)
	var err error
	for n, end := uint64(1), time.Now().Add(limit); err == nil && time.Now().Before(end); n++ {
		err = r.row(ctx, r.step(list, seed, n), faultWithin)
	}
	sum := row{name: fmt.Sprintf("%s of faults by chance, seed %d", limit, seed), failed: map[string]int{}}
	for _, res := range r.rows[before:] {
		sum.add(res)
	}
	r.rows = append(r.rows[:before], sum)
	_, _ = fmt.Fprint(r.out, sum.line())
	return err
}

// step is the nth step of a walk: a fault, and every third time another one at once that touches something else. What is
// chosen, and the moments within, are those of the seed and n.
func (r *runner) step(list []fault, seed, n uint64) fault {
	chance := func(of uint64) *runner {
		return &runner{w: r.w, out: r.out, short: r.short, rnd: rand.New(rand.NewPCG(seed, 3*n+of))}
	}
	choice := chance(0)
	a, b := list[choice.below(int64(len(list)))], list[choice.below(int64(len(list)))]
	if choice.below(3) > 0 || a.touches == b.touches || a.touches == everything || b.touches == everything {
		return fault{name: a.name, times: 1, run: func(ctx context.Context, _ *runner) error { return a.run(ctx, chance(1)) }}
	}
	return fault{name: a.name + "; " + b.name, times: 1, run: func(ctx context.Context, _ *runner) error {
		both, ctx := errgroup.WithContext(ctx)
		both.Go(func() error { return a.run(ctx, chance(1)) })
		both.Go(func() error { return b.run(ctx, chance(2)) })
		return both.Wait()
	}}
}

// add takes in what another fault did.
func (res *row) add(other row) {
	res.times += other.times
	res.reads += other.reads
	for reason, n := range other.failed {
		res.failed[reason] += n
	}
	res.lost += other.lost
	res.silence, res.back = max(res.silence, other.silence), max(res.back, other.back)
	res.acked += other.acked
	res.problems = append(res.problems, other.problems...)
}

const head = "| fault | times | reads that failed | connections lost | longest without an acknowledgement, s | all in sync after, s | acknowledged | lost, doubled, renumbered |\n|---|---|---|---|---|---|---|---|\n"

func (r *runner) table() string {
	var b strings.Builder
	b.WriteString(head)
	for _, res := range r.rows {
		b.WriteString(res.line())
	}
	return b.String()
}

func (res row) line() string {
	total, why := 0, ""
	for _, reason := range slices.Sorted(maps.Keys(res.failed)) {
		total += res.failed[reason]
		why += fmt.Sprintf(", %s %d", reason, res.failed[reason])
	}
	failed := fmt.Sprintf("%d of %d", total, res.reads)
	if total > 0 {
		failed += " (" + why[2:] + ")"
	}
	return fmt.Sprintf("| %s | %d | %s | %d | %.1f | %.1f | %d | %d |\n",
		res.name, res.times, failed, res.lost, res.silence.Seconds(), res.back.Seconds(), res.acked, len(res.problems))
}
