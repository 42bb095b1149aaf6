package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// idleBaseline is how long the server is watched before anyone connects.
const idleBaseline = 10 * time.Second

// idleRow says what connections cost that do nothing.
type idleRow struct {
	Disk        percentiles   `json:"disk"`
	Connections int           `json:"connections"`
	Settle      time.Duration `json:"settleNs"`
	RSSBefore   int64         `json:"rssBeforeBytes"`
	RSSAfter    int64         `json:"rssAfterBytes"`
	PerConn     float64       `json:"rssBytesPerConnection"`
	// Heap and stacks in use per connection, each measured after a garbage collection: RSS less the slack.
	Heap   float64 `json:"heapBytesPerConnection"`
	Stacks float64 `json:"stackBytesPerConnection"`

	ConnectCPU float64       `json:"cpuUsPerConnect"`
	Connecting time.Duration `json:"connectingNs"`
	// CPU of one connection a second, less what the server needs without connections; heartbeats are in it.
	RestCPU float64 `json:"cpuUsPerConnectionSecond"`
	Error   string  `json:"error,omitempty"`
}

func (b *bench) idle(ctx context.Context) idleRow {
	row := idleRow{Connections: b.opt.idle, Settle: b.opt.settle}
	if err := b.measureIdle(ctx, &row); err != nil {
		row.Error = err.Error()
	}
	return row
}

func (b *bench) measureIdle(ctx context.Context, row *idleRow) error {
	dir, err := b.fresh(b.seeded)
	if err != nil {
		return err
	}
	if row.Disk, err = probe(b.work); err != nil {
		return err
	}
	s, err := b.launch(ctx, dir)
	if err != nil {
		return err
	}
	defer s.kill()
	baseline, before, err := row.alone(ctx, s)
	if err != nil {
		return err
	}
	c := &crowd{}
	defer c.leave()
	if err := b.enter(ctx, s, c, row, baseline); err != nil {
		return err
	}
	if err := row.together(ctx, s, c, baseline, before); err != nil {
		return err
	}
	c.leave()
	return s.stop()
}

// alone watches the server before anyone connects. baseline is the part of a core that it uses.
func (r *idleRow) alone(ctx context.Context, s *server) (baseline float64, before map[string]float64, err error) {
	if before, err = s.settledMetrics(); err != nil {
		return 0, nil, err
	}
	from, err := cpuOf(s.pid())
	if err != nil {
		return 0, nil, err
	}
	if err := pause(ctx, idleBaseline); err != nil {
		return 0, nil, err
	}
	to, err := cpuOf(s.pid())
	if err != nil {
		return 0, nil, err
	}
	r.RSSBefore, err = rssOf(s.pid())
	return float64(to-from) / float64(idleBaseline), before, err
}

// crowd is many connections that only answer the server's pings.
type crowd struct {
	mu    sync.Mutex
	conns []*conn
	wg    sync.WaitGroup
	left  atomic.Bool
	lost  atomic.Int64
}

func (c *crowd) add(member *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, member)
	c.wg.Go(func() {
		for {
			if _, err := member.read(); err != nil {
				if !c.left.Load() {
					c.lost.Add(1)
				}
				return
			}
		}
	})
}

// leave closes all connections and waits for their readers. It may be called again.
func (c *crowd) leave() {
	c.left.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, member := range c.conns {
		member.close()
	}
	c.wg.Wait()
}

// enter connects all devices.
func (b *bench) enter(ctx context.Context, s *server, c *crowd, row *idleRow, baseline float64) error {
	from, err := cpuOf(s.pid())
	if err != nil {
		return err
	}
	begun := time.Now()
	err = inParallel(ctx, row.Connections, func(ctx context.Context, i int) error {
		member, err := dial(ctx, s.base, b.accounts[i/devicesPerUser].devices[i%devicesPerUser], 512)
		if err == nil {
			c.add(member)
		}
		return err
	})
	if err != nil {
		return err
	}
	row.Connecting = time.Since(begun)
	to, err := cpuOf(s.pid())
	if err != nil {
		return err
	}
	own := to - from - time.Duration(baseline*float64(row.Connecting))
	row.ConnectCPU = perUnit(max(0, own), row.Connections)
	return nil
}

// together lets the connections settle and measures what they take.
func (r *idleRow) together(ctx context.Context, s *server, c *crowd, baseline float64, before map[string]float64) error {
	from, err := cpuOf(s.pid())
	if err != nil {
		return err
	}
	if err := pause(ctx, r.Settle); err != nil {
		return err
	}
	to, err := cpuOf(s.pid())
	if err != nil {
		return err
	}
	if r.RSSAfter, err = rssOf(s.pid()); err != nil {
		return err
	}
	after, err := s.settledMetrics()
	if err != nil {
		return err
	}
	if online := int(after["oceanchat_ws_gateway_connections"]); online != r.Connections || c.lost.Load() != 0 {
		return fmt.Errorf("%d connections are open and %d were lost; want %d and 0", online, c.lost.Load(), r.Connections)
	}
	n := float64(r.Connections)
	r.PerConn = float64(r.RSSAfter-r.RSSBefore) / n
	r.Heap = (after["go_memstats_heap_alloc_bytes"] - before["go_memstats_heap_alloc_bytes"]) / n
	r.Stacks = (after["go_memstats_stack_inuse_bytes"] - before["go_memstats_stack_inuse_bytes"]) / n
	own := float64(to-from) - baseline*float64(r.Settle)
	r.RestCPU = max(0, own) / 1e3 / n / r.Settle.Seconds()
	return nil
}
