package orchestrator_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/delivery/orchestrator"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/embedded"
)

// The service on a real backbone: from a batch of the log to both queues, and what was handled is acknowledged.
func TestOnBackbone(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.online["ann"] = []string{"gw1/a1"}
	w.notices["g"] = []*messagev1.Entry{notice("g~g", 1, created, "ann", "bob")}
	b, err := embedded.New(embedded.Config{Dir: t.TempDir(), Sync: embedded.SyncInterval, Partitions: 2}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	outer, stop := context.WithCancel(t.Context())
	defer stop()
	up := make(chan struct{})
	var server errgroup.Group
	server.Go(func() error { return b.Run(outer, func() { close(up) }) })
	<-up
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	svc := orchestrator.New(config(), orchestrator.Deps{Backbone: b, Partitions: 2, Network: w.network()},
		slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	var g errgroup.Group
	g.Go(func() error { return svc.Run(ctx, func() {}) })
	var received atomic.Int32
	online, offline := &flowv1.OnlineTask{}, &flowv1.OfflineTask{}
	consume(ctx, t, &g, b, backbone.PushOnline, "gw1", online, &received)
	consume(ctx, t, &g, b, backbone.PushOffline, "task", offline, &received)
	l, err := b.Log(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	m := batch(t, 1, text("g~g", 2, "ann"))
	if _, err := l.Append(ctx, m.Data, 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { n, err := l.Floor(ctx, orchestrator.ReaderName); return err == nil && n == 1 })
	eventually(t, func() bool { return received.Load() == 2 })
	cancel()
	if err := g.Wait(); err != nil {
		t.Errorf("Run = %v; want nil", err)
	}
	if len(online.GetItems()) != 1 || online.GetGatewayId() != "gw1" || online.GetId() == "" {
		t.Errorf("online task = %v; want the entry for gw1", online)
	}
	if len(offline.GetItems()) != 1 || offline.GetItems()[0].GetUserIds()[0] != "bob" || offline.GetId() == "" {
		t.Errorf("offline task = %v; want the entry for bob", offline)
	}
	stop()
	if err := server.Wait(); err != nil {
		t.Errorf("backbone: %v", err)
	}
}

// consume decodes the one task of a topic into m and counts it.
func consume(
	ctx context.Context, t *testing.T, g *errgroup.Group, b backbone.Backbone, name backbone.QueueName, topic string,
	m proto.Message, n *atomic.Int32,
) {
	t.Helper()
	q, err := b.Queue(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	g.Go(func() error {
		return q.Consume(ctx, backbone.Consumer{Name: "test", Topic: topic, Handle: func(_ context.Context, task backbone.Task) backbone.Verdict {
			if err := proto.Unmarshal(task.Data, m); err != nil {
				return backbone.Park(err)
			}
			n.Add(1)
			return backbone.Done()
		}})
	})
}

func eventually(t *testing.T, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); {
		if time.Now().After(end) {
			t.Fatal("it did not happen in 20 s")
		}
		<-time.After(5 * time.Millisecond)
	}
}
