package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"time"
)

// bench is one run of this program: what it was asked for and what it has prepared.
type bench struct {
	opt      options
	log      *slog.Logger
	binary   string
	work     string // temporary; removed at the end
	seeded   string // a data directory with users and nothing else, of a server that has ended
	accounts []account
	dirs     int
}

// fresh returns a new data directory with a copy of what is in from; "" leaves it empty.
func (b *bench) fresh(from string) (string, error) {
	b.dirs++
	dir := filepath.Join(b.work, fmt.Sprintf("data%d", b.dirs))
	if from == "" {
		return dir, nil
	}
	return dir, copyDir(from, dir)
}

func (b *bench) launch(ctx context.Context, dir string, flags ...string) (*server, error) {
	return launch(ctx, b.binary, dir, append(append([]string{}, b.opt.server...), flags...)...)
}

// pairRow is one row of the one-to-one table.
type pairRow struct {
	Rate int         `json:"rate"`
	Sync string      `json:"logSync"`
	Disk percentiles `json:"disk"`

	Balance balance     `json:"ledger"`
	Counted int         `json:"counted"` // messages behind the percentiles and the CPU: without the warm-up
	Ack     percentiles `json:"ack"`
	Receive percentiles `json:"receive"`
	Late    percentiles `json:"late"` // of the client: part of both

	ServerCPU float64 `json:"serverCpuUsPerMessage"`
	ClientCPU float64 `json:"clientCpuUsPerMessage"`
	Others    float64 `json:"othersPercent"`
	Delivered float64 `json:"entriesPerDeliveryBatch"`
	Stored    float64 `json:"entriesPerTransaction"`
	Frames    float64 `json:"framesPerMessage"` // from the server, over the whole run
	RSS       int64   `json:"rssBytes"`
	Error     string  `json:"error,omitempty"`
}

// pairs measures one rate on a copy of the seeded directory.
func (b *bench) pairs(ctx context.Context, rate int, sync string) pairRow {
	row := pairRow{Rate: rate, Sync: sync}
	dir, err := b.fresh(b.seeded)
	if err == nil {
		err = b.measurePairs(ctx, dir, &row)
	}
	if err != nil {
		row.Error = err.Error()
	}
	return row
}

func (b *bench) measurePairs(ctx context.Context, dir string, row *pairRow) error {
	var err error
	if row.Disk, err = probe(b.work); err != nil {
		return err
	}
	s, err := b.launch(ctx, dir, "--log-sync", row.Sync)
	if err != nil {
		return err
	}
	defer s.kill()
	if err := b.drive(ctx, s, row, b.opt.warmup, b.opt.duration); err != nil {
		return err
	}
	if row.RSS, err = rssOf(s.pid()); err != nil {
		return err
	}
	return s.stop()
}

// drive runs the load on s and fills in the row. An error says that nothing was measured or that the ledger does not balance.
func (b *bench) drive(ctx context.Context, s *server, row *pairRow, warmup, counted time.Duration) error {
	perSecond := func(d time.Duration) int { return int(d.Seconds() * float64(row.Rate)) }
	first := perSecond(warmup)
	row.Counted = perSecond(counted)
	led := newLedger(b.opt.pairs, first+row.Counted)
	l, err := open(ctx, s.base, b.accounts, led)
	if err != nil {
		return err
	}
	defer l.close()
	before, err := s.metrics()
	if err != nil {
		return err
	}
	if err := pause(ctx, time.Second); err != nil { // connecting has its aftermath
		return err
	}
	window := make(chan error, 1)
	go func() { window <- row.watch(ctx, s.pid(), warmup, counted) }()
	runErr := l.run(ctx, row.Rate)
	if err := <-window; err != nil && runErr == nil {
		runErr = err
	}
	row.Ack, row.Receive, row.Late = led.latencies(first)
	row.Balance = led.balance()
	if runErr != nil {
		return errors.Join(runErr, row.Balance.err())
	}
	after, err := s.metrics()
	if err != nil {
		return err
	}
	row.count(before, after)
	if row.Balance.Log, err = readLogs(ctx, s.base, b.accounts, led); err != nil {
		return err
	}
	return row.Balance.err()
}

// watch takes the CPU times at both ends of the counted part.
func (r *pairRow) watch(ctx context.Context, pid int, warmup, counted time.Duration) error {
	if err := pause(ctx, warmup); err != nil {
		return err
	}
	from, err := usageOf(pid)
	if err != nil {
		return err
	}
	if err := pause(ctx, counted); err != nil {
		return err
	}
	to, err := usageOf(pid)
	if err != nil {
		return err
	}
	r.ServerCPU = perUnit(to.server-from.server, r.Counted)
	r.ClientCPU = perUnit(to.client-from.client, r.Counted)
	r.Others = to.others(from, runtime.NumCPU())
	return nil
}

// count fills in what the server itself has counted over the whole run.
func (r *pairRow) count(before, after map[string]float64) {
	ratio := func(above, below string) float64 {
		d := after[below] - before[below]
		if d == 0 {
			return 0
		}
		return (after[above] - before[above]) / d
	}
	r.Delivered = ratio("oceanchat_orchestrator_entries_total", "oceanchat_orchestrator_lag_seconds_count")
	r.Stored = ratio("oceanchat_persistence_batch_entries_sum", "oceanchat_persistence_batch_entries_count")
	if r.Balance.Sent > 0 {
		const frames = "oceanchat_ws_gateway_frames_out_total"
		r.Frames = (after[frames] - before[frames]) / float64(r.Balance.Sent)
	}
}

// profile runs 1,000 messages a second once more, outside the tables, and fetches a CPU profile meanwhile: profiling
// costs something itself.
func (b *bench) profile(ctx context.Context) error {
	dir, err := b.fresh(b.seeded)
	if err != nil {
		return err
	}
	s, err := b.launch(ctx, dir)
	if err != nil {
		return err
	}
	defer s.kill()
	fetched := make(chan error, 1)
	go func() {
		err := pause(ctx, time.Second+b.opt.warmup) // drive pauses as long before it begins
		if err == nil {
			err = s.profile(ctx, b.opt.duration, b.opt.profile)
		}
		fetched <- err
	}()
	row := pairRow{Rate: 1000}
	err = b.drive(ctx, s, &row, b.opt.warmup, b.opt.duration+time.Second)
	if fetchErr := <-fetched; err == nil {
		err = fetchErr
	}
	if err != nil {
		return err
	}
	return s.stop()
}
