package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

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

// crowdBuffer is enough for a ping; longer frames are rare.
const crowdBuffer = 512

// enter connects the first n accounts, some at a time, and tells how far it is.
func (c *crowd) enter(ctx context.Context, at doors, wire codec, of []account, some int, p *progress, connected func(i int, began time.Time)) error {
	var done atomic.Int64
	return inParallel(ctx, some, len(of), func(ctx context.Context, i int) error {
		began := time.Now()
		member, err := dial(ctx, at.socket(i), wire, of[i], crowdBuffer)
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		c.add(member)
		if connected != nil {
			connected(i, began)
		}
		if n := done.Add(1); n%500 == 0 {
			p.say("%d of %d connected", n, len(of))
		}
		return nil
	})
}
