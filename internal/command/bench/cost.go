package bench

import (
	"context"
	"errors"
	"runtime"
	"time"
)

// serverCost is what messages cost a server of our own, or a cluster.
type serverCost struct {
	CPU         float64 `json:"cpuUsPerMessage"`
	DeliveryCPU float64 `json:"cpuUsPerDelivery"`
	ClientCPU   float64 `json:"clientCpuUsPerMessage"`
	Others      float64 `json:"othersPercent"`
	Delivered   float64 `json:"entriesPerDeliveryBatch"`
	Stored      float64 `json:"entriesPerTransaction"`
	Frames      float64 `json:"framesPerMessage"` // from the server, over the whole run
	RSS         int64   `json:"rssBytes"`

	Parts []partCost `json:"parts,omitempty"` // of a cluster
}

// watched runs do, and takes what the server or the cluster needs meanwhile.
func (b *bench) watched(ctx context.Context, p place, r run, first int, do func() error) error {
	w := p.watched()
	if w == nil {
		return do()
	}
	before, err := w.metrics()
	if err != nil {
		return err
	}
	cost := &serverCost{}
	window := make(chan error, 1)
	counted := time.Duration(r.row.Counted) * time.Second / time.Duration(r.rate)
	warmup := time.Duration(first) * time.Second / time.Duration(r.rate)
	go func() { window <- cost.watch(ctx, w, warmup, counted, r.row.Counted) }()
	runErr := do()
	if err := errors.Join(<-window, runErr); err != nil {
		return err
	}
	after, err := w.metrics()
	if err != nil {
		return err
	}
	cost.count(before, after, first+r.row.Counted)
	r.row.Server = cost
	return nil
}

// watch takes the CPU times at both ends of the part that counts, and the memory at its end.
func (s *serverCost) watch(ctx context.Context, w watch, warmup, counted time.Duration, messages int) error {
	if err := pause(ctx, warmup); err != nil {
		return err
	}
	from, err := usageOf(w)
	if err != nil {
		return err
	}
	if err := pause(ctx, counted); err != nil {
		return err
	}
	to, err := usageOf(w)
	if err != nil {
		return err
	}
	s.CPU = perUnit(to.server-from.server, messages)
	s.ClientCPU = perUnit(to.client-from.client, messages)
	s.Others = to.others(from, runtime.NumCPU())
	held, err := w.memory()
	if err != nil {
		return err
	}
	for _, n := range held {
		s.RSS += n
	}
	if len(w) > 1 {
		s.Parts = w.shares(from.each, to.each, held, messages)
	}
	return nil
}

// perDelivery spreads the cost over what arrived.
func (s *serverCost) perDelivery(b balance) {
	if b.Deliveries == 0 {
		return
	}
	messages := float64(b.Sent) / float64(b.Deliveries)
	s.DeliveryCPU = s.CPU * messages
	for i := range s.Parts {
		s.Parts[i].DeliveryCPU = s.Parts[i].CPU * messages
	}
}

// count fills in what the servers themselves have counted over the whole run.
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
