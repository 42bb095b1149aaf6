package message_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/app/stored"
	"github.com/oceanchat/oceanchat/internal/business/message"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
	"github.com/oceanchat/oceanchat/internal/seam/calls/nats"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
)

// counted counts what an instance appends.
type counted struct {
	*convlog.Log
	n atomic.Int64
}

func (c *counted) Append(ctx context.Context, d convlog.Draft) (convlog.Result, error) {
	c.n.Add(1)
	return c.Log.Append(ctx, d)
}

// instance is message as a process of a cluster has it.
type instance struct {
	log  *counted
	stop func()
}

func startInstance(t *testing.T, c *backbonetest.Cluster, db *sqlite.DB) *instance {
	t.Helper()
	var cfg message.Config
	if _, err := config.Load(&cfg, config.Sources{}); err != nil {
		t.Fatal(err)
	}
	discard := slog.New(slog.DiscardHandler)
	b, _ := c.Open(t, 0)
	s, err := b.Log(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	i := &instance{log: &counted{Log: convlog.New(convlog.Defaults(1), []backbone.Log{s}, stored.Of(db.Log()), discard, func(string) {})}}
	others := inproc.New(discard)
	userv1.RegisterUserInternalServiceServer(others, &users{blocks: map[string]bool{}})
	groupv1.RegisterGroupInternalServiceServer(others, &groups{teams: map[string]*team{}})
	net := nats.New(nats.Config{}, b, discard)
	svc := message.New(cfg, message.Deps{
		Log: i.log, Cursors: db.Cursors(), Network: others, Publish: b.Publish,
		Affinity: &message.Affinity{Partitions: 1, Serve: net.ServeShard, Subscribe: b.Subscribe},
	}, discard)
	ctx, cancel := context.WithCancel(context.Background())
	ready, over := make(chan struct{}), make(chan error, 1)
	go func() { over <- svc.Run(ctx, func() { close(ready) }) }()
	i.stop = sync.OnceFunc(func() { // as a process ends: it serves nothing new, then its services end
		drain, done := context.WithTimeout(context.Background(), 10*time.Second)
		defer done()
		net.Drain(drain)
		cancel()
		if err := <-over; err != nil {
			t.Errorf("Run = %v; want nil", err)
		}
	})
	t.Cleanup(i.stop)
	<-ready
	svc.Register(net)
	return i
}

// Two instances over one partition: with the hint one of them soon gets all sends, and when it leaves the other one
// does. No send fails on the way.
func TestAffinityOverNetwork(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	c := backbonetest.StartCluster(t, 1)
	both := []*instance{startInstance(t, c, db), startInstance(t, c, db)}
	b, _ := c.Open(t, 0)
	client := messagev1.NewMessageServiceClient(nats.New(nats.Config{}, b, slog.New(slog.DiscardHandler)))
	sent := 0
	round := func() [2]int64 { // twenty sends, and how many each instance got of them
		before := [2]int64{both[0].log.n.Load(), both[1].log.n.Load()}
		for range 20 {
			sent++
			ctx := calls.WithShard(calls.WithIdentity(t.Context(), calls.Identity{UserID: "ann"}), "0")
			r, err := client.Send(ctx, &messagev1.SendRequest{ClientMsgId: fmt.Sprint("m", sent), ToUserId: "bob", Text: &messagev1.Text{Text: "hi"}})
			if err != nil || r.GetSeq() != uint64(sent) {
				t.Fatalf("Send %d = seq %d, %v; want seq %d", sent, r.GetSeq(), err, sent)
			}
		}
		return [2]int64{both[0].log.n.Load() - before[0], both[1].log.n.Load() - before[1]}
	}
	owner := -1
	for end := time.Now().Add(30 * time.Second); owner < 0 && time.Now().Before(end); {
		if got := round(); got[0] == 20 || got[1] == 20 {
			owner = int(got[1] / 20)
		}
	}
	if owner < 0 {
		t.Fatal("no instance got all sends of a shard within 30 s")
	}
	stopped := make(chan struct{})
	go func() { defer close(stopped); both[owner].stop() }()
	for going := true; going; {
		round() // fails the test if a send does
		select {
		case <-stopped:
			going = false
		default:
		}
	}
	if got := round(); got[1-owner] != 20 {
		t.Errorf("after the owner left its peer got %d of 20 sends; want all", got[1-owner])
	}
}
