package wsgateway_test

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/access/wsgateway"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// Invariant 5: when the backbone was lost and is there again, sessions that ended meanwhile are found at once and not in
// the next sweep, and all clients are told to synchronise; each time it happens.
func TestBackboneLost(t *testing.T) {
	t.Parallel()
	c := backbonetest.StartCluster(t, 1)
	cfg := defaults(t)
	cfg.SweepEvery = time.Hour
	w := build(t, cfg, wsgateway.Deps{Mounted: true}, slog.DiscardHandler)
	w.signals.real, _ = c.Open(t, 0)
	srv := httptest.NewServer(w.gw.Handler())
	w.addr = srv.Listener.Addr().String()
	w.run()
	t.Cleanup(srv.Close)
	t.Cleanup(w.stop)

	stays, _ := w.connect("u0", true)
	for round := 1; round <= 2; round++ {
		user := fmt.Sprint("u", round)
		ends, _ := w.connect(user, true)
		c.Stop(0)
		w.sessions.set(chat.SessionID("s-"+user), faststate.Denied)
		stays.request(round, "ping", `{}`)
		if m := stays.read(); string(m.ID) != fmt.Sprint(round) {
			t.Errorf("without the backbone the client got %s; want the answer to its ping", m.raw)
		}
		c.Start(t, 0)
		ends.wantClose(4002)
		if m := stays.read(); m.Method != "resync" {
			t.Errorf("after the backbone is back the client got %s; want resync", m.raw)
		}
	}
}
