package bench

import (
	"context"
	"fmt"
	"time"
)

// idleBaseline is how long the server is watched before anyone connects.
const idleBaseline = 10 * time.Second

// idleRow says what connections cost that do nothing. What is read of the server is 0 where it is neither our own nor a cluster.
type idleRow struct {
	Disk        percentiles   `json:"disk"`
	Connections int           `json:"connections"`
	Lost        int           `json:"lost"`
	Settle      time.Duration `json:"settleNs"`
	Connecting  time.Duration `json:"connectingNs"`
	Local       bool          `json:"local"` // the figures below were measured
	RSSBefore   int64         `json:"rssBeforeBytes"`
	RSSAfter    int64         `json:"rssAfterBytes"`
	PerConn     float64       `json:"rssBytesPerConnection"`
	// Heap and stacks in use per connection, each measured after a garbage collection: RSS less the slack.
	Heap   float64 `json:"heapBytesPerConnection"`
	Stacks float64 `json:"stackBytesPerConnection"`

	ConnectCPU float64 `json:"cpuUsPerConnect"`
	// CPU of one connection a second, less what the server needs without connections; heartbeats are in it.
	RestCPU float64 `json:"cpuUsPerConnectionSecond"`
	Error   string  `json:"error,omitempty"`
}

func (b *bench) idle(ctx context.Context) {
	row := &idleRow{Connections: b.idleConns, Settle: b.settle}
	row.Error = b.report.fail("idle", b.measureIdle(ctx, row))
	b.report.Idle = row
}

func (b *bench) measureIdle(ctx context.Context, row *idleRow) error {
	var err error
	if b.own() {
		if row.Disk, err = probe(b.work); err != nil {
			return err
		}
	}
	return b.at(ctx, b.syncs[0], b.idleConns, func(ctx context.Context, p place) error {
		c := &crowd{}
		defer c.leave()
		w := p.watched()
		if w == nil {
			return b.idleElsewhere(ctx, p, c, row)
		}
		row.Local = true
		if err := gone(ctx, p); err != nil {
			return err
		}
		b.progress.say("idle: watching the server alone")
		baseline, before, err := row.alone(ctx, w)
		if err != nil {
			return err
		}
		if err := b.enterIdle(ctx, p, c, row, baseline); err != nil {
			return err
		}
		b.progress.say("idle: %d connections settle for %v", row.Connections, row.Settle)
		if err := row.together(ctx, w, c, baseline, before); err != nil {
			return err
		}
		c.leave()
		return nil
	})
}

// idleElsewhere only tells whether the connections live.
func (b *bench) idleElsewhere(ctx context.Context, p place, c *crowd, row *idleRow) error {
	begun := time.Now()
	if err := c.enter(ctx, p.doors, b.wire, b.accounts.all[:row.Connections], dialing, b.progress, nil); err != nil {
		return err
	}
	row.Connecting = time.Since(begun)
	if err := pause(ctx, row.Settle); err != nil {
		return err
	}
	if row.Lost = int(c.lost.Load()); row.Lost > 0 {
		return fmt.Errorf("%d of %d connections were lost", row.Lost, row.Connections)
	}
	return nil
}

// alone watches the server before anyone connects. baseline is the part of a core that it uses.
func (r *idleRow) alone(ctx context.Context, w watch) (baseline float64, before map[string]float64, err error) {
	if before, err = w.settledMetrics(); err != nil {
		return 0, nil, err
	}
	from, err := w.cpu()
	if err != nil {
		return 0, nil, err
	}
	if err := pause(ctx, idleBaseline); err != nil {
		return 0, nil, err
	}
	to, err := w.cpu()
	if err != nil {
		return 0, nil, err
	}
	r.RSSBefore, err = w.rss()
	return float64(to-from) / float64(idleBaseline), before, err
}

// enterIdle connects all accounts and measures what that costs.
func (b *bench) enterIdle(ctx context.Context, p place, c *crowd, row *idleRow, baseline float64) error {
	w := p.watched()
	from, err := w.cpu()
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := c.enter(ctx, p.doors, b.wire, b.accounts.all[:row.Connections], dialing, b.progress, nil); err != nil {
		return err
	}
	row.Connecting = time.Since(begun)
	to, err := w.cpu()
	if err != nil {
		return err
	}
	own := to - from - time.Duration(baseline*float64(row.Connecting))
	row.ConnectCPU = perUnit(max(0, own), row.Connections)
	return nil
}

// together lets the connections settle and measures what they take.
func (r *idleRow) together(ctx context.Context, w watch, c *crowd, baseline float64, before map[string]float64) error {
	from, err := w.cpu()
	if err != nil {
		return err
	}
	if err := pause(ctx, r.Settle); err != nil {
		return err
	}
	to, err := w.cpu()
	if err != nil {
		return err
	}
	if r.RSSAfter, err = w.rss(); err != nil {
		return err
	}
	after, err := w.settledMetrics()
	if err != nil {
		return err
	}
	r.Lost = int(c.lost.Load())
	if online := int(after[connected] - before[connected]); online != r.Connections || r.Lost != 0 {
		return fmt.Errorf("%d connections are open and %d were lost; want %d and 0", online, r.Lost, r.Connections)
	}
	n := float64(r.Connections)
	r.PerConn = float64(r.RSSAfter-r.RSSBefore) / n
	r.Heap = (after["go_memstats_heap_alloc_bytes"] - before["go_memstats_heap_alloc_bytes"]) / n
	r.Stacks = (after["go_memstats_stack_inuse_bytes"] - before["go_memstats_stack_inuse_bytes"]) / n
	own := float64(to-from) - baseline*float64(r.Settle)
	r.RestCPU = max(0, own) / 1e3 / n / r.Settle.Seconds()
	return nil
}
