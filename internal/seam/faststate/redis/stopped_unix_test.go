//go:build unix

package redis_test

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/faststate/redis"
)

// TestStopped: Redis hangs. Calls end by their deadline, as many as there may be, and the same client goes on when
// Redis does. What must succeed is asked with patience.
func TestStopped(t *testing.T) {
	t.Run("single", func(t *testing.T) {
		s := own(t)
		testStopped(t, defaults("oc", s.addr), s)
	})
	t.Run("cluster", func(t *testing.T) {
		cfg := ownCluster(t)
		testStopped(t, cfg, shared.nodes...)
	})
}

func testStopped(t *testing.T, cfg redis.Config, servers ...*server) {
	patient := dial(t, cfg)
	cfg.CallTimeout, cfg.PoolSize = 200*time.Millisecond, 4
	c, late := dial(t, cfg), dial(t, cfg)
	conns, users := crowd(100, "g1")
	mustRenew(t, patient.Presence(), false)
	mustPut(t, patient.Presence(), conns)
	find := func() error {
		got, err := c.Presence().Lookup(t.Context(), users)
		if err == nil && len(got) != len(users) {
			err = fmt.Errorf("%d of %d connections", len(got), len(users))
		}
		return err
	}
	eventually(t, "Redis answers", find) // so that there are connections that break
	signal := func(sig os.Signal) {
		for _, s := range servers {
			if err := s.Cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
		}
	}
	signal(syscall.SIGSTOP)
	stopped := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() { failing(t, c) })    // each call returns although the server does not
	wg.Go(func() { failing(t, late) }) // also without a connection
	for range 64 {                     // more than the pool holds
		wg.Go(func() {
			if err := find(); err == nil {
				t.Error("Lookup while Redis hangs succeeded; want an error")
			}
		})
	}
	wg.Wait()
	// Thirteen calls one after the other, of 200 ms each; what waits without regard to that takes 5 s a call.
	if d := time.Since(stopped); d > 13*time.Second {
		t.Errorf("calls took %v; want 13 times 200ms and some patience", d)
	}
	<-time.After(time.Until(stopped.Add(time.Second)))
	signal(syscall.SIGCONT)
	for range 64 {
		wg.Go(func() { eventually(t, "Redis goes on", find) })
	}
	wg.Wait()
	mustRenew(t, patient.Presence(), true)
}
