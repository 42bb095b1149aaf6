package callstest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// Benchmark measures a small call with an identity, what each step of a message's way costs, by 1 and by 64 callers at a
// time. The CPU time is the process's, with both sides in it.
func Benchmark(b *testing.B, open func(b *testing.B, register func(calls.Host)) calls.Network) {
	n := open(b, func(h calls.Host) { presencev1.RegisterPresenceInternalServiceServer(h, presence{hello: echo}) })
	client := presencev1.NewPresenceInternalServiceClient(n)
	base := calls.WithRequestID(calls.WithIdentity(b.Context(), calls.Identity{UserID: "u1", SessionID: "s1", DeviceID: "d1"}), "r1")
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			b.ReportAllocs()
			ctx, cancel := context.WithTimeout(base, time.Minute)
			defer cancel()
			before := cpuTime()
			var wg sync.WaitGroup
			for i := range callers {
				wg.Go(func() {
					for range (b.N + i) / callers {
						if _, err := client.Hello(ctx, conns("c1", "c2")); err != nil {
							b.Errorf("Hello = %v", err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
		})
	}
}
