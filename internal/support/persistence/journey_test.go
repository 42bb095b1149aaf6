package persistence_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog/convlogtest"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/support/persistence"
)

// Each message is remembered as stored, once, also when the log offers it again.
func TestJourney(t *testing.T) {
	t.Parallel()
	db, s := openDB(t), convlogtest.NewStream("a")
	adopt(t, db.Log(), 0, s)
	rec := journey.New(journey.Config{Events: 1 << 16}, "p")
	svc := persistence.New(config(), persistence.Retention{}, []backbone.Log{s}, db.Log(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	svc.Journey(rec)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(ctx, func() {}) }()
	s.Put(encode(t, text(team, 1, "ann"), text(team, 2, "ann")), time.Now())
	s.Put(encode(t, text(team, 2, "ann"), text(team, 3, "ann")), time.Now())
	eventually(t, "all is stored", func() bool { return position(t, db.Log(), 0) == 2 })
	cancel()
	if err := <-ended; err != nil {
		t.Fatalf("Run = %v; want nil", err)
	}
	for seq := uint64(1); seq <= 3; seq++ {
		events, _ := rec.Of(string(chat.NewMessageID(seq, seq)))
		if len(events) != 1 || events[0].Stage != journey.Stored {
			t.Errorf("the journey of seq %d = %v; want stored, once", seq, events)
		}
	}
}
