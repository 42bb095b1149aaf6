package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

const (
	starts     = 5 // of each kind
	idleSettle = 5 * time.Second
)

// startRow says how long the server takes to serve, and what it takes while nobody does anything.
type startRow struct {
	Disk   percentiles `json:"disk"`
	Binary int64       `json:"binaryBytes"`
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

func (b *bench) start(ctx context.Context) {
	row := &startRow{}
	row.Error = b.report.fail("start", b.measureStart(ctx, row))
	b.report.Start = row
}

func (b *bench) measureStart(ctx context.Context, row *startRow) error {
	info, err := os.Stat(b.binary)
	if err != nil {
		return err
	}
	row.Binary = info.Size()
	if row.Disk, err = probe(b.work); err != nil {
		return err
	}
	b.progress.say("start: on empty directories")
	if err := b.startFresh(ctx, row); err != nil {
		return err
	}
	dir, messages, err := b.filled(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	row.Messages = messages
	b.progress.say("start: with %d messages", messages)
	if row.Stopped, err = b.restarts(ctx, dir, (*server).stop); err != nil {
		return err
	}
	row.Killed, err = b.restarts(ctx, dir, func(s *server) error { s.kill(); return nil })
	return err
}

func (b *bench) launch(ctx context.Context, dir string) (*server, error) {
	return launch(ctx, b.binary, dir, append([]string{"--log-sync", b.syncs[0]}, b.server...)...)
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
	w := (place{server: s}).watched()
	if w == nil {
		return nil
	}
	before, err := w.cpu()
	if err != nil {
		return err
	}
	if err := pause(ctx, idleSettle); err != nil {
		return err
	}
	after, err := w.cpu()
	if err != nil {
		return err
	}
	r.CPU = float64(after-before) / 1e3 / idleSettle.Seconds()
	r.RSS, err = w.rss()
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
			s.kill()
			return startTimes{}, fmt.Errorf("end a server: %w", err)
		}
	}
	return startTimesOf(took), nil
}
