package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// What a server must keep to while it is offered more than it can do. The bounds are generous: they tell a server that
// holds out from one that does not, and no machine from another.
const (
	acceptedWithin = 15 * time.Second // p99 of send→ack of what is accepted
	mayGrow        = 512 << 20        // bytes of resident memory above what it took before
	leastGoodput   = 3                // of what was acknowledged before, at least a third still is
	sampleEvery    = 2 * time.Second
	calmFor        = 5 // seconds whose p99 must be within the bound for the server to count as back
)

// overloadRow says what a server does that is offered a multiple of what it can do, and what it does afterwards.
type overloadRow struct {
	Sync        string        `json:"logSync,omitempty"`
	Disk        percentiles   `json:"disk"`
	DiskAfter   percentiles   `json:"diskAfter"`
	Connections int           `json:"connections"`
	Phases      []phase       `json:"phases"` // before, overload, after
	Bound       time.Duration `json:"p99BoundNs"`
	// Back is how long after the overload everything is acknowledged again with a p99 within Bound, or within twice that
	// of before; negative: it was not in the time for it.
	Back    time.Duration `json:"backAfterNs"`
	Memory  memory        `json:"memory"` // of a server of our own, or a cluster
	Waiting int           `json:"waitingAppendsMost"`
	Balance balance       `json:"ledger"`
	Error   string        `json:"error,omitempty"`
}

// memory is resident memory in bytes: before anything is sent, the most before the overload and from then on, at the end.
type memory struct {
	Start  int64 `json:"startBytes"`
	Before int64 `json:"beforeBytes"`
	Most   int64 `json:"mostBytes"`
	End    int64 `json:"endBytes"`
}

// phase is what became of the messages of one stretch.
type phase struct {
	Name       string         `json:"name"`
	Offered    int            `json:"offeredPerSecond"`
	Messages   int            `json:"messages"`
	Throughput float64        `json:"acknowledgedPerSecond"`
	Ack        percentiles    `json:"sendToAck"` // of what was acknowledged, from when it was due
	Late       percentiles    `json:"late"`      // of the client: part of it
	Refused    map[string]int `json:"refused"`   // by reason; OUTCOME_UNKNOWN too, which is no refusal
	Unadvised  int            `json:"unadvised"` // of these, without retryAfterMs
	Unanswered int            `json:"unanswered"`
}

func (b *bench) overload(ctx context.Context) {
	for _, sync := range b.syncsHere() {
		row := &overloadRow{Sync: sync, Bound: b.p99, Connections: 2 * b.pairCount, Back: -1}
		b.progress.say("overload: %d messages a second, then %d%s", b.overloadRate, b.factor*b.overloadRate, comma(sync))
		row.Error = b.report.fail("overload"+comma(sync), b.measureOverload(ctx, row))
		b.report.Overload = append(b.report.Overload, row)
		if ctx.Err() != nil {
			return
		}
	}
}

func (b *bench) measureOverload(ctx context.Context, row *overloadRow) error {
	if err := b.probed(&row.Disk); err != nil {
		return err
	}
	err := b.at(ctx, row.Sync, row.Connections, func(ctx context.Context, p place) error { return b.overloadAt(ctx, p, row) })
	return errors.Join(err, b.probed(&row.DiskAfter))
}

func (b *bench) overloadAt(ctx context.Context, p place, row *overloadRow) error {
	rooms, err := b.pairRooms(ctx, p)
	if err != nil {
		return err
	}
	calm, heavy := int(b.settle.Seconds()*float64(b.overloadRate)), int(b.duration.Seconds()*float64(b.factor*b.overloadRate))
	plan := schedule{{b.overloadRate, calm}, {b.factor * b.overloadRate, heavy}, {b.overloadRate, calm}}
	led := newLedger(runName(), len(rooms), 2, plan.count())
	if err := readHeads(ctx, p.doors, b.wire, rooms, led); err != nil {
		return fmt.Errorf("look where the conversations end: %w", err)
	}
	l, err := open(ctx, p.doors, b.wire, rooms, led)
	if err != nil {
		return err
	}
	defer l.close()
	if err := pause(ctx, time.Second); err != nil { // connecting has its aftermath
		return err
	}
	runErr := row.watched(ctx, p.watched(), plan, func() error { return l.follow(ctx, plan) })
	row.read(led, plan)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	backErr := readBack(ctx, p.doors, b.wire, rooms, led)
	led.unread = backErr != nil
	row.Balance = led.balance()
	return errors.Join(runErr, backErr, row.Balance.wrong(), row.verdict(led))
}

// watched runs do and looks meanwhile at what the server holds.
func (row *overloadRow) watched(ctx context.Context, w watch, plan schedule, do func() error) error {
	if w == nil {
		return do()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var looked sync.WaitGroup
	var err error
	if row.Memory.Start, err = w.rss(); err != nil {
		return err
	}
	begun := time.Now()
	looked.Go(func() {
		for err == nil && pause(ctx, sampleEvery) == nil {
			err = row.sample(w, time.Since(begun) > plan[:1].lasts())
		}
	})
	runErr := do()
	stop()
	looked.Wait()
	return errors.Join(runErr, err)
}

func (row *overloadRow) sample(w watch, loaded bool) error {
	rss, err := w.rss()
	if err != nil {
		return err
	}
	sums, err := w.metrics()
	if err != nil {
		return err
	}
	row.Memory.End = rss
	row.Memory.Most = max(row.Memory.Most, rss)
	if !loaded {
		row.Memory.Before = max(row.Memory.Before, rss)
	}
	row.Waiting = max(row.Waiting, int(sums["oceanchat_log_waiting_appends"]))
	return nil
}

// read takes from the ledger what became of each stretch. Nobody may write to it any more.
func (row *overloadRow) read(led *ledger, plan schedule) {
	from := 0
	for i, name := range []string{"before", "overload", "after"} {
		to := from + plan[i].count
		row.Phases = append(row.Phases, led.phase(name, plan[i], from, to))
		from = to
	}
	row.Back = led.backAfter(plan, max(row.Bound, 2*row.Phases[0].Ack.P99))
}

// phase sums up the messages from..to.
func (l *ledger) phase(name string, s stretch, from, to int) phase {
	p := phase{Name: name, Offered: s.rate, Messages: to - from, Refused: map[string]int{}}
	var acks, lates []time.Duration
	for i := from; i < to; i++ {
		m := &l.messages[i]
		switch {
		case m.acks > 0:
			acks = append(acks, m.acked-m.due)
		case m.refusals > 0:
			p.Refused[l.reasons.of(m)]++
			if m.unadvised {
				p.Unadvised++
			}
		default:
			p.Unanswered++
		}
		if m.sent > 0 {
			lates = append(lates, m.sent-m.due)
		}
	}
	p.Throughput = float64(len(acks)) / schedule{s}.lasts().Seconds()
	p.Ack, p.Late = percentilesOf(acks), percentilesOf(lates)
	return p
}

// backAfter returns how many seconds into the last stretch everything is acknowledged again, calmFor seconds long, with a
// p99 within bound; negative: never.
func (l *ledger) backAfter(plan schedule, bound time.Duration) time.Duration {
	last := plan[len(plan)-1]
	first := len(l.messages) - last.count
	for from := first; from < len(l.messages); from += last.rate {
		to := min(from+calmFor*last.rate, len(l.messages))
		if to-from < min(calmFor*last.rate, last.count) {
			break
		}
		p := l.phase("", last, from, to)
		if p.Ack.Count == to-from && p.Ack.P99 <= bound {
			return time.Duration((from-first)/last.rate) * time.Second
		}
	}
	return -1
}

// verdict returns what a server must not do, however much it is offered.
func (row *overloadRow) verdict(led *ledger) error {
	before, loaded := row.Phases[0], row.Phases[1]
	kept, stored := 0, led.stored()
	for i := range led.messages {
		m := &led.messages[i]
		if reason := led.reasons.of(m); (reason == "OVERLOADED" || reason == "RATE_LIMITED") && stored[i] {
			kept++
		}
	}
	unadvised := 0
	for _, p := range row.Phases {
		unadvised += p.Unadvised
	}
	b := row.Balance
	claims := []claim{
		{kept != 0, fmt.Sprintf("%d messages were refused and are stored", kept)},
		{b.Stored != b.Received, fmt.Sprintf("stored %d, received %d", b.Stored, b.Received)},
		{unadvised != 0, fmt.Sprintf("%d refusals without retryAfterMs", unadvised)},
		{loaded.Ack.P99 > acceptedWithin, fmt.Sprintf("p99 of what was accepted under overload is %v; want at most %v", loaded.Ack.P99, acceptedWithin)},
		{loaded.Throughput < before.Throughput/leastGoodput, fmt.Sprintf("under overload %.0f messages a second were acknowledged, before %.0f", loaded.Throughput, before.Throughput)},
		{row.Memory.Most > row.Memory.Before+mayGrow, fmt.Sprintf("resident memory grew from %s to %s MiB", mib(row.Memory.Before), mib(row.Memory.Most))},
		{row.Back < 0, fmt.Sprintf("it was not back to a p99 of %v, or twice that of before, within %v", row.Bound, schedule{{before.Offered, row.Phases[2].Messages}}.lasts())},
	}
	var errs []error
	for _, c := range claims {
		if c.broken {
			errs = append(errs, errors.New(c.what))
		}
	}
	return errors.Join(errs...)
}

func (r *report) writeOverload(s *strings.Builder) {
	for _, row := range r.Overload {
		fmt.Fprintf(s, "\nOverload, %s connections%s:\n", thousands(row.Connections), comma(row.Sync))
		table(s, "phase", "offered/s", "acknowledged/s", "send→ack of these p50 / p99 / max, ms", "refused, of all", "without retryAfterMs", "unanswered", "client late p50 / p99, ms")
		for _, p := range row.Phases {
			cells(s, p.Name, thousands(p.Offered), fmt.Sprintf("%.0f", p.Throughput), known(p.Ack.Count > 0, p.Ack.two()+" / "+ms(p.Ack.Max)), p.refusals(),
				fmt.Sprint(p.Unadvised), fmt.Sprint(p.Unanswered), p.Late.two())
		}
		back := "not"
		if row.Back >= 0 {
			back = fmt.Sprintf("%.0f s", row.Back.Seconds())
		}
		b, m := row.Balance, row.Memory
		table(s, "back after", "RSS MiB: start, before, most, end", "appends waiting, most", "sent, acknowledged, stored, received", "doubles, holes, lost", "disk p50 / p99 before; after, ms")
		cells(s, back, known(m.Most > 0, mib(m.Start)+", "+mib(m.Before)+", "+mib(m.Most)+", "+mib(m.End)), known(m.Most > 0, fmt.Sprint(row.Waiting)),
			fmt.Sprintf("%d, %d, %d, %d", b.Sent, b.Acked, b.Stored, b.Received), fmt.Sprintf("%d, %d, %d", b.Doubles, b.Holes, b.Lost), row.Disk.two()+"; "+row.DiskAfter.two())
	}
}

// refusals lists them by reason.
func (p phase) refusals() string {
	if len(p.Refused) == 0 {
		return "0"
	}
	var words []string
	for _, reason := range slices.Sorted(maps.Keys(p.Refused)) {
		words = append(words, fmt.Sprintf("%s %.1f %%", reason, 100*float64(p.Refused[reason])/float64(p.Messages)))
	}
	return strings.Join(words, ", ")
}
