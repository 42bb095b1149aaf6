package wsgateway_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// BenchmarkFanOut pushes one entry to 200 connections per step; ns/op is for one delivery.
func BenchmarkFanOut(b *testing.B) {
	w := start(b)
	var ids []string
	const people = 200
	for i := range people {
		c, id := w.connect(fmt.Sprintf("u%d", i), true)
		ids = append(ids, id)
		go swallow(c)
	}
	b.ResetTimer()
	for i := 0; i < b.N; i += people {
		if _, err := w.down.Deliver(context.Background(), w.entryTask(uint64(i), uint64(i), ids...)); err != nil {
			b.Fatalf("Deliver = %v; want nil", err)
		}
	}
}

// swallow reads and acknowledges everything.
func swallow(c *client) {
	_ = c.nc.SetDeadline(time.Time{})
	go func() {
		for range time.Tick(500 * time.Millisecond) {
			if _, err := c.nc.Write(rawFrame(ws.OpText, true, true, []byte(`{"jsonrpc":"2.0","method":"ack","params":{"n":9000000000}}`))); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		if _, err := c.nc.(*net.TCPConn).Read(buf); err != nil {
			return
		}
	}
}
