package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Bounds of the rows without a load of messages.
const (
	starts       = 5 // of each kind
	idleSettle   = 5 * time.Second
	fillRate     = 1000
	fillTime     = 6 * time.Second
	historyReads = 200
)

// startRow says how long the server takes to serve, and what it takes while nobody does anything.
type startRow struct {
	Disk percentiles `json:"disk"`
	// The median and the slowest of a few starts.
	Fresh    startTimes `json:"fresh"`
	Stopped  startTimes `json:"afterStop"` // with Messages in the directory, after SIGTERM
	Killed   startTimes `json:"afterKill"` // the same, after SIGKILL
	Messages int        `json:"messages"`
	RSS      int64      `json:"rssBytes"`       // fresh, 5 s after the start
	CPU      float64    `json:"cpuUsPerSecond"` // in those 5 s
	Error    string     `json:"error,omitempty"`
}

type startTimes struct {
	Median  time.Duration `json:"medianNs"`
	Slowest time.Duration `json:"slowestNs"`
	Count   int           `json:"count"`
}

func startTimesOf(took []time.Duration) startTimes {
	if len(took) == 0 {
		return startTimes{}
	}
	return startTimes{Median: median(took), Slowest: slices.Max(took), Count: len(took)}
}

func (b *bench) start(ctx context.Context) startRow {
	var row startRow
	if err := b.measureStart(ctx, &row); err != nil {
		row.Error = err.Error()
	}
	return row
}

func (b *bench) measureStart(ctx context.Context, row *startRow) error {
	var err error
	if row.Disk, err = probe(b.work); err != nil {
		return err
	}
	if err := b.startFresh(ctx, row); err != nil {
		return err
	}
	dir, messages, err := b.filled(ctx)
	if err != nil {
		return err
	}
	row.Messages = messages
	if row.Stopped, err = b.restarts(ctx, dir, (*server).stop); err != nil {
		return err
	}
	row.Killed, err = b.restarts(ctx, dir, func(s *server) error { s.kill(); return nil })
	return err
}

// startFresh starts on empty directories; the last one stays a while.
func (b *bench) startFresh(ctx context.Context, row *startRow) error {
	var took []time.Duration
	for i := range starts {
		dir, err := b.fresh("")
		if err != nil {
			return err
		}
		s, err := b.launch(ctx, dir)
		if err != nil {
			return err
		}
		took = append(took, s.took)
		if i == starts-1 {
			err = row.rest(ctx, s)
		}
		s.kill()
		if err != nil {
			return err
		}
	}
	row.Fresh = startTimesOf(took)
	return nil
}

func (r *startRow) rest(ctx context.Context, s *server) error {
	before, err := cpuOf(s.pid())
	if err != nil {
		return err
	}
	if err := pause(ctx, idleSettle); err != nil {
		return err
	}
	after, err := cpuOf(s.pid())
	if err != nil {
		return err
	}
	r.CPU = float64(after-before) / 1e3 / idleSettle.Seconds()
	r.RSS, err = rssOf(s.pid())
	return err
}

// restarts ends a server on dir several times with end and measures how soon it is back.
func (b *bench) restarts(ctx context.Context, dir string, end func(*server) error) (startTimes, error) {
	var took []time.Duration
	for i := range starts + 1 {
		s, err := b.launch(ctx, dir)
		if err != nil {
			return startTimes{}, err
		}
		if i > 0 { // the first comes after whatever was before
			took = append(took, s.took)
		}
		if err := end(s); err != nil {
			return startTimes{}, err
		}
	}
	return startTimesOf(took), nil
}

// filled returns a data directory with messages in every pair's conversation, of a server that has ended.
func (b *bench) filled(ctx context.Context) (dir string, messages int, err error) {
	dir, err = b.fresh(b.seeded)
	if err != nil {
		return "", 0, err
	}
	s, err := b.launch(ctx, dir)
	if err != nil {
		return "", 0, err
	}
	defer s.kill()
	row := pairRow{Rate: fillRate}
	if err := b.drive(ctx, s, &row, 0, fillTime); err != nil {
		return "", 0, fmt.Errorf("fill a directory: %w", err)
	}
	return dir, row.Balance.Acked, s.stop()
}

// historyRow says how long the latest page of a conversation takes over REST, one read at a time.
type historyRow struct {
	Disk     percentiles `json:"disk"`
	Messages int         `json:"messagesPerConversation"`
	First    percentiles `json:"first"` // the first read of each conversation after a start
	Again    percentiles `json:"again"`
	CPU      float64     `json:"serverCpuUsPerRead"`
	Error    string      `json:"error,omitempty"`
}

func (b *bench) history(ctx context.Context) historyRow {
	var row historyRow
	if err := b.measureHistory(ctx, &row); err != nil {
		row.Error = err.Error()
	}
	return row
}

func (b *bench) measureHistory(ctx context.Context, row *historyRow) error {
	dir, messages, err := b.filled(ctx)
	if err != nil {
		return err
	}
	row.Messages = messages / b.opt.pairs
	if row.Disk, err = probe(b.work); err != nil {
		return err
	}
	s, err := b.launch(ctx, dir)
	if err != nil {
		return err
	}
	defer s.kill()
	first, err := b.readPages(ctx, s.base, b.opt.pairs)
	if err != nil {
		return err
	}
	before, err := cpuOf(s.pid())
	if err != nil {
		return err
	}
	again, err := b.readPages(ctx, s.base, historyReads)
	if err != nil {
		return err
	}
	after, err := cpuOf(s.pid())
	if err != nil {
		return err
	}
	row.First, row.Again = percentilesOf(first), percentilesOf(again)
	row.CPU = perUnit(after-before, historyReads)
	return s.stop()
}

// readPages reads the latest 50 entries n times, the conversations in turn.
func (b *bench) readPages(ctx context.Context, base string, n int) ([]time.Duration, error) {
	var took []time.Duration
	for i := range n {
		pair := i % b.opt.pairs
		a := b.accounts[2*pair]
		path := "/conversations/" + direct(a.id, b.accounts[2*pair+1].id) + "/messages?limit=50"
		var page struct{ Entries []struct{ Seq uint64 } }
		at := time.Now()
		if err := a.rest(base).Do(ctx, "GET", path, nil, &page); err != nil {
			return nil, fmt.Errorf("read history: %w", err)
		}
		took = append(took, time.Since(at))
		if len(page.Entries) != 50 {
			return nil, fmt.Errorf("a page of history has %d entries; want 50", len(page.Entries))
		}
	}
	return took, nil
}
