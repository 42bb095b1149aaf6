package grpcnet_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/grpcnet"
)

// reads serves Lookup.
type reads struct {
	presencev1.UnimplementedPresenceInternalServiceServer
	lookup func(context.Context) error
}

func (r reads) Lookup(ctx context.Context, _ *presencev1.LookupRequest) (*presencev1.LookupResponse, error) {
	return &presencev1.LookupResponse{}, r.lookup(ctx)
}

// Who is slow is not given up when another one is asked too: the first answer counts, and who has not given it is let go.
func TestSlowReadIsNotCutShort(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	n, _ := start(t, grpcnet.Config{}, addr)
	var asked atomic.Int64
	second, letGo := make(chan struct{}), make(chan struct{})
	presencev1.RegisterPresenceInternalServiceServer(n, reads{lookup: func(ctx context.Context) error {
		switch asked.Add(1) {
		case 1:
			<-second
			return nil
		case 2:
			close(second)
			<-ctx.Done()
			close(letGo)
		}
		<-ctx.Done()
		return ctx.Err()
	}})
	caller := newNetwork(t, grpcnet.Config{Addr: ":0", Addrs: []string{"presence=" + addr}})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := lookup(ctx, caller); err != nil {
		t.Fatalf("Lookup of which the slower one was asked first = %v; want its answer", err)
	}
	select {
	case <-letGo:
	case <-ctx.Done():
		t.Error("who was asked too goes on after the answer; want that it is cancelled")
	}
}

// When nobody answers, that is not made worse.
func TestRepeatsAreFew(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	n, _ := start(t, grpcnet.Config{}, addr)
	var asked atomic.Int64
	presencev1.RegisterPresenceInternalServiceServer(n, reads{lookup: func(ctx context.Context) error {
		asked.Add(1)
		<-ctx.Done()
		return ctx.Err()
	}})
	caller, counted := newNetwork(t, grpcnet.Config{Addr: ":0", Addrs: []string{"presence=" + addr}}), prometheus.NewRegistry()
	caller.Watch(calls.NewObserver(nil, slog.New(slog.DiscardHandler), counted))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	const made = 100
	var wg sync.WaitGroup
	for range made {
		wg.Go(func() {
			if err := lookup(ctx, caller); !fault.IsReason(err, fault.OutcomeUnknown) {
				t.Errorf("Lookup that nobody answers = %v; want %s", err, fault.OutcomeUnknown)
			}
		})
	}
	wg.Wait()
	repeats := asked.Load() - made
	if repeats <= 0 || repeats > 50 {
		t.Errorf("%d calls were repeated %d times; want some repeats, and at most 50", made, repeats)
	}
	families, err := counted.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "oceanchat_calls_repeated_total" {
			if got := f.GetMetric()[0].GetCounter().GetValue(); int64(got) != repeats {
				t.Errorf("%s = %v; want %d", f.GetName(), got, repeats)
			}
			return
		}
	}
	t.Error("repeats are not counted")
}
