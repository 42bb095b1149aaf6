package grpcnet_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/freeport"
	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/callstest"
	"github.com/oceanchat/oceanchat/internal/seam/calls/grpcnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a Network as the suite wants it, without gateways and shards.
type host struct{ *grpcnet.Network }

func (host) ServeGateway(chat.GatewayID, func(grpc.ServiceRegistrar)) func() { return func() {} }
func (host) ServeShard(string, string) func()                                { return func() {} }

// freeAddr returns an address on which nobody listens.
func freeAddr(t testing.TB) string {
	t.Helper()
	addrs, err := freeport.Take(1)
	if err != nil {
		t.Fatal(err)
	}
	return addrs[0]
}

func newNetwork(t testing.TB, cfg grpcnet.Config) *grpcnet.Network {
	t.Helper()
	if cfg.MaxCalls == 0 {
		cfg.MaxCalls = 1000
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = time.Hour
	}
	log := slog.New(slog.DiscardHandler)
	n, err := grpcnet.New(cfg, netdoor.NewSet(netdoor.Trust{}, log, prometheus.NewRegistry()), log)
	if err != nil {
		t.Fatalf("New = %v", err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// start runs a Network on addr until the test ends or kill is called.
func start(t testing.TB, cfg grpcnet.Config, addr string) (n *grpcnet.Network, kill func()) {
	t.Helper()
	cfg.Addr = addr
	n = newNetwork(t, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- n.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("Run = %v", err)
	}
	killed := false
	kill = func() {
		if killed {
			return
		}
		killed = true
		at, now := context.WithCancel(context.Background())
		now()
		n.Drain(at)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v; want nil", err)
		}
	}
	t.Cleanup(kill)
	return n, kill
}

func open(tls grpcnet.TLS) callstest.Open {
	return func(t *testing.T, register func(calls.Host)) calls.Network {
		addr := freeAddr(t)
		caller := newNetwork(t, grpcnet.Config{Addr: ":0", Addrs: []string{"presence=" + addr}, TLS: tls})
		n, _ := start(t, grpcnet.Config{TLS: tls}, addr)
		register(host{n})
		return caller
	}
}

func TestNetwork(t *testing.T) {
	callstest.TestCalls(t, open(grpcnet.TLS{}))
	callstest.TestCancellation(t, open(grpcnet.TLS{}))
}

type cluster struct {
	t      *testing.T
	addrs  [callstest.Slots]string
	caller calls.Network
}

func (c cluster) Caller() calls.Network { return c.caller }

func (c cluster) Start(slot, limit int) callstest.Instance {
	n, kill := start(c.t, grpcnet.Config{MaxCalls: limit}, c.addrs[slot])
	return callstest.Instance{Host: host{n}, Drain: n.Drain, Kill: kill}
}

func TestInstances(t *testing.T) {
	callstest.TestInstances(t, func(t *testing.T) callstest.Cluster {
		c := cluster{t: t}
		var addrs []string
		for slot := range c.addrs {
			c.addrs[slot] = freeAddr(t)
			addrs = append(addrs, "presence="+c.addrs[slot])
		}
		c.caller = newNetwork(t, grpcnet.Config{Addr: ":0", Addrs: addrs})
		return c
	})
}

func BenchmarkCall(b *testing.B) {
	callstest.Benchmark(b, func(b *testing.B, register func(calls.Host)) calls.Network {
		addr := freeAddr(b)
		n, _ := start(b, grpcnet.Config{}, addr)
		register(host{n})
		return newNetwork(b, grpcnet.Config{Addr: ":0", Addrs: []string{"presence=" + addr}})
	})
}
