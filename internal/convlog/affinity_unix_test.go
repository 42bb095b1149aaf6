//go:build unix

package convlog_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
)

// conflicts counts the appends of an appender, and those that another one's came before.
type conflicts struct {
	backbone.Log
	tries, lost *atomic.Int64
}

func (c conflicts) Append(ctx context.Context, data []byte, expect uint64) (uint64, error) {
	c.tries.Add(1)
	seq, err := c.Log.Append(ctx, data, expect)
	if errors.Is(err, backbone.ErrConflict) {
		c.lost.Add(1)
	}
	return seq, err
}

// BenchmarkAffinity compares sends that alternate between two appenders of a partition with the same sends through one of
// them. CPU is that of the whole process: appenders, client side of NATS, and all servers.
// docs/decisions/0006-appender-affinity.md holds what it said.
func BenchmarkAffinity(b *testing.B) {
	for _, servers := range []int{1, 3} {
		for _, senders := range []int{2, 64, 512} {
			for _, shared := range []bool{true, false} {
				name := fmt.Sprintf("R%d/senders=%d/owner", servers, senders)
				if shared {
					name = fmt.Sprintf("R%d/senders=%d/alternating", servers, senders)
				}
				b.Run(name, func(b *testing.B) { benchAffinity(b, servers, senders, shared) })
			}
		}
	}
}

func benchAffinity(b *testing.B, servers, senders int, shared bool) {
	cluster := backbonetest.StartCluster(b, servers)
	var tries, lost atomic.Int64
	var logs []*convlog.Log
	d := newDatabase()
	for i := range 2 {
		bb, _ := cluster.Open(b, i%servers)
		s, err := bb.Log(b.Context(), 0)
		if err != nil {
			b.Fatal(err)
		}
		l, _ := open(b, conflicts{s, &tries, &lost}, d, func(c *convlog.Config) { c.PublishTimeout = 10 * time.Second })
		logs = append(logs, l)
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	cpu := cpuTime(b)
	for w := range senders {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				e := text(fmt.Sprint("user", w), fmt.Sprint("m", n), "a message of some forty bytes, like many are")
				e.ConversationId = fmt.Sprint("g~", w%50)
				l := logs[0]
				if shared {
					l = logs[n%2]
				}
				if _, err := l.Append(b.Context(), convlog.Draft{Entry: e, Permit: convlog.Any}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(b.N), "CPU-µs/entry")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(100*float64(lost.Load())/float64(tries.Load()), "%conflicts")
	b.ReportMetric(float64(b.N)/float64(tries.Load()), "entries/publish")
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
