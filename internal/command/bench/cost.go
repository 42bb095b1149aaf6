package bench

import (
	"context"
	"errors"
	"runtime"
	"time"
)

// serverCost is what messages cost a server of our own.
type serverCost struct {
	CPU         float64 `json:"cpuUsPerMessage"`
	DeliveryCPU float64 `json:"cpuUsPerDelivery"`
	ClientCPU   float64 `json:"clientCpuUsPerMessage"`
	Others      float64 `json:"othersPercent"`
	Delivered   float64 `json:"entriesPerDeliveryBatch"`
	Stored      float64 `json:"entriesPerTransaction"`
	Frames      float64 `json:"framesPerMessage"` // from the server, over the whole run
	RSS         int64   `json:"rssBytes"`
}

// watched runs do, and takes what a server of our own needs meanwhile.
func (b *bench) watched(ctx context.Context, p place, r run, first int, do func() error) error {
	s := p.watched()
	if s == nil {
		return do()
	}
	before, err := s.metrics()
	if err != nil {
		return err
	}
	cost := &serverCost{}
	window := make(chan error, 1)
	counted := time.Duration(r.row.Counted) * time.Second / time.Duration(r.rate)
	warmup := time.Duration(first) * time.Second / time.Duration(r.rate)
	go func() { window <- cost.watch(ctx, s.pid(), warmup, counted, r.row.Counted) }()
	runErr := do()
	if err := errors.Join(<-window, runErr); err != nil {
		return err
	}
	after, err := s.metrics()
	if err != nil {
		return err
	}
	cost.count(before, after, first+r.row.Counted)
	cost.RSS, err = rssOf(s.pid())
	r.row.Server = cost
	return err
}

// watch takes the CPU times at both ends of the part that counts.
func (s *serverCost) watch(ctx context.Context, pid int, warmup, counted time.Duration, messages int) error {
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
	s.CPU = perUnit(to.server-from.server, messages)
	s.ClientCPU = perUnit(to.client-from.client, messages)
	s.Others = to.others(from, runtime.NumCPU())
	return nil
}

// count fills in what the server itself has counted over the whole run.
func (s *serverCost) count(before, after map[string]float64, messages int) {
	ratio := func(above, below string) float64 {
		d := after[below] - before[below]
		if d == 0 {
			return 0
		}
		return (after[above] - before[above]) / d
	}
	s.Delivered = ratio("oceanchat_orchestrator_entries_total", "oceanchat_orchestrator_lag_seconds_count")
	s.Stored = ratio("oceanchat_persistence_batch_entries_sum", "oceanchat_persistence_batch_entries_count")
	const frames = "oceanchat_ws_gateway_frames_out_total"
	s.Frames = (after[frames] - before[frames]) / float64(messages)
}
