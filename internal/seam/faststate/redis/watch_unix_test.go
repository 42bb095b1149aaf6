//go:build unix

package redis_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	driver "github.com/redis/go-redis/v9"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/redis"
)

// tally counts what the client lets through to a server; the driver's own commands, as on a new connection, are left out.
type tally struct{ calls, pings atomic.Int64 }

func (n *tally) note(ctx context.Context, name string) {
	switch {
	case name == "evalsha", name == "get", name == "ping" && ctx.Value(asked{}) != nil:
		n.calls.Add(1)
	case name == "ping":
		n.pings.Add(1)
	}
}

// asked marks the context of a test's own Ping.
type asked struct{}

func (n *tally) DialHook(next driver.DialHook) driver.DialHook { return next }

func (n *tally) ProcessHook(next driver.ProcessHook) driver.ProcessHook {
	return func(ctx context.Context, cmd driver.Cmder) error {
		n.note(ctx, cmd.Name())
		return next(ctx, cmd)
	}
}

func (n *tally) ProcessPipelineHook(next driver.ProcessPipelineHook) driver.ProcessPipelineHook {
	return func(ctx context.Context, cmds []driver.Cmder) error {
		n.note(ctx, cmds[0].Name())
		return next(ctx, cmds)
	}
}

// counted returns a client and what it lets through, for each address.
func counted(t *testing.T, cfg redis.Config) (*redis.Client, map[string]*tally) {
	c := dial(t, cfg)
	counts := map[string]*tally{}
	for _, addr := range cfg.Addrs {
		counts[addr] = &tally{}
	}
	add := func(db *driver.Client) {
		if n := counts[db.Options().Addr]; n != nil {
			db.AddHook(n)
		}
	}
	switch db := c.DB().(type) {
	case *driver.Client:
		add(db)
	case *driver.ClusterClient:
		db.OnNewNode(add)
	}
	return c, counts
}

func take(ctx context.Context, c *redis.Client, key string) error {
	_, _, err := c.Limits().Take(ctx, key, 1000, 1000)
	return err
}

// halt stops a server until the function that it returns is called, or the test ends.
func halt(t *testing.T, s *server) (goOn func()) {
	t.Helper()
	if err := s.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn = func() { _ = s.Cmd.Process.Signal(syscall.SIGCONT) }
	t.Cleanup(goOn)
	return goOn
}

// untilAway calls until a call fails.
func untilAway(t *testing.T, c *redis.Client, key string) {
	t.Helper()
	eventually(t, "the server hangs", func() error {
		if take(t.Context(), c, key) == nil {
			return errors.New("it answers")
		}
		return nil
	})
}

// TestFailFast: while Redis hangs one call waits, and those after it fail at once with the errors of always, until Redis
// goes on. A Ping is always sent.
func TestFailFast(t *testing.T) {
	s := own(t)
	cfg := defaults("oc", s.addr)
	cfg.CallTimeout = 300 * time.Millisecond
	c, counts := counted(t, cfg)
	n := counts[s.addr]
	eventually(t, "Redis answers", func() error { return take(t.Context(), c, "k") })
	goOn := halt(t, s)
	untilAway(t, c, "k")
	before := n.calls.Load()
	for range 20 {
		if err := take(t.Context(), c, "k"); !fault.IsReason(err, fault.Overloaded) {
			t.Errorf("Take while Redis hangs = %v; want %s", err, fault.Overloaded)
		}
	}
	if _, err := c.Sessions().Check(t.Context(), []chat.SessionID{"s1", "s2"}); !fault.IsReason(err, fault.SessionStoreDown) {
		t.Errorf("Check while Redis hangs = %v; want %s", err, fault.SessionStoreDown)
	}
	if got := n.calls.Load() - before; got != 0 {
		t.Errorf("of 21 calls after one timed out %d were sent; want 0", got)
	}
	if err := c.Ping(context.WithValue(t.Context(), asked{}, true)); err == nil || n.calls.Load() != before+1 {
		t.Errorf("Ping while Redis hangs = %v, %d sent; want an error and 1", err, n.calls.Load()-before)
	}
	goOn()
	eventually(t, "Redis goes on", func() error { return take(t.Context(), c, "k") })
	if n.pings.Load() == 0 {
		t.Error("Redis was found again without a probe; want one")
	}
}

// TestOthersImpatience: a caller who does not wait as long as a call may take says nothing of the server.
func TestOthersImpatience(t *testing.T) {
	s := own(t)
	c, counts := counted(t, defaults("oc", s.addr))
	n := counts[s.addr]
	eventually(t, "Redis answers", func() error { return take(t.Context(), c, "k") })
	goOn := halt(t, s)
	brief := func(key string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		return take(ctx, c, key)
	}
	eventually(t, "the server hangs", func() error {
		if brief("k") == nil {
			return errors.New("it answers")
		}
		return nil
	})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	before := n.calls.Load()
	for _, err := range []error{brief("k"), take(gone, c, "k"), brief("k"), brief("k")} {
		if err == nil {
			t.Error("Take while Redis hangs = no error; want one")
		}
	}
	if got := n.calls.Load() - before; got != 4 {
		t.Errorf("%d of 4 calls with short deadlines were sent; want all", got)
	}
	goOn()
	if err := take(t.Context(), c, "k"); err != nil {
		t.Errorf("Take after that = %v; want no error", err)
	}
	if got := n.pings.Load(); got != 0 {
		t.Errorf("%d probes; want none", got)
	}
}

// TestOneSlowCommand: a call that runs out of time while others are answered closes nothing.
func TestOneSlowCommand(t *testing.T) {
	s := own(t)
	cfg := defaults("oc", s.addr)
	cfg.CallTimeout = 2 * time.Second
	c, counts := counted(t, cfg)
	slow := make(chan error)
	go func() { slow <- c.DB().Do(t.Context(), "BLPOP", "nothing", 0).Err() }()
	for {
		select {
		case err := <-slow:
			if err == nil {
				t.Error("BLPOP = no error; want a time-out")
			}
			if err := take(t.Context(), c, "k"); err != nil {
				t.Errorf("Take after it = %v; want no error", err)
			}
			if got := counts[s.addr].pings.Load(); got != 0 {
				t.Errorf("%d probes; want none", got)
			}
			return
		case <-time.After(10 * time.Millisecond):
			if err := take(t.Context(), c, "k"); err != nil {
				t.Errorf("Take beside it = %v; want no error", err)
			}
		}
	}
}

// TestFailFastOneNode: a node of a Cluster that hangs is closed by itself; the others answer.
func TestFailFastOneNode(t *testing.T) {
	cfg := ownCluster(t)
	for _, s := range shared.nodes {
		db := s.dial()
		defer db.Close()
		// The rest serves its slots however long this machine takes, also when it has found out about the node.
		if err := db.ConfigSet(t.Context(), "cluster-require-full-coverage", "no").Err(); err != nil {
			t.Fatal(err)
		}
		defer db.ConfigSet(context.WithoutCancel(t.Context()), "cluster-require-full-coverage", "yes")
	}
	cfg.CallTimeout = 500 * time.Millisecond
	c, counts := counted(t, cfg)
	victim := shared.nodes[1]
	n := counts[victim.addr]
	var theirs, others []string // keys of the victim, and of the other nodes
	for i := 0; len(theirs) < 10 || len(others) < 10; i++ {
		key, before := fmt.Sprint("k", i), n.calls.Load()
		eventually(t, "the Cluster answers", func() error { return take(t.Context(), c, key) })
		if n.calls.Load() > before {
			theirs = append(theirs, key)
		} else {
			others = append(others, key)
		}
	}
	goOn := halt(t, victim)
	untilAway(t, c, theirs[0])
	before := n.calls.Load()
	for _, key := range theirs {
		if err := take(t.Context(), c, key); !fault.IsReason(err, fault.Overloaded) {
			t.Errorf("Take at the node that hangs = %v; want %s", err, fault.Overloaded)
		}
	}
	for _, key := range others {
		eventually(t, "the other nodes answer", func() error { return take(t.Context(), c, key) })
	}
	if got := n.calls.Load() - before; got != 0 {
		t.Errorf("of %d calls after one timed out %d were sent to the node; want 0", len(theirs), got)
	}
	goOn()
	for _, key := range theirs {
		eventually(t, "the node goes on", func() error { return take(t.Context(), c, key) })
	}
}
