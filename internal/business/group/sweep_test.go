package group_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// stuck makes n groups whose change nobody of this version can complete, begun an hour ago.
func (w *world) stuck(n int) {
	w.db.mu.Lock()
	defer w.db.mu.Unlock()
	for i := range n {
		g := store.Group{ID: chat.GroupID(fmt.Sprint("stuck", i)), Version: 1}
		w.db.groups[g.ID] = w.db.begin(g, store.Change{
			Data: []byte(`{"schema":2,"id":"x","kind":"new"}`), At: w.now().Add(-time.Hour), Users: []chat.UserID{"other"},
		})
	}
}

// crashedJoin adds fay to a new group by an instance that dies after Begin.
func crashedJoin(t *testing.T, w *world) (id string) {
	t.Helper()
	id = w.create(t, w.instance())
	crashing := w.instance()
	crashing.faults.crashAt, crashing.faults.effect = 1, true
	if err := add("fay")(crashing, as(t, "ann"), id); err == nil {
		t.Fatal("the crash did not happen")
	}
	return id
}

// G1: however many changes of others are pending, the one that concerns a user is completed before an answer.
func TestOwnChangeAmongMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stuck(1500)
	id := crashedJoin(t, w)
	r, err := w.instance().ListMemberships(t.Context(), &groupv1.ListMembershipsRequest{UserId: "fay"})
	if err != nil || len(r.GetMemberships()) != 1 || r.GetMemberships()[0].GetGroupId() != id {
		t.Errorf("ListMemberships(fay) = %v, %v; want %s", r, err, id)
	}
	w.balance(t, id)
}

// Changes that cannot be completed hold up no younger ones, and are seen by who watches.
func TestSweepPassesWhatIsStuck(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.SweepEvery = 10 * time.Millisecond
	w.stuck(1500)
	id := crashedJoin(t, w)
	ctx, stop := context.WithCancel(t.Context())
	ended, s := make(chan error), w.instance()
	go func() { ended <- s.Run(ctx, func() {}) }()
	eventually(t, func() bool { return !w.pending(id) })
	eventually(t, func() bool {
		return s.gauge(t, "oceanchat_group_changes_pending") == 1500 && s.gauge(t, "oceanchat_group_changes_oldest_seconds") >= 3600
	})
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v; want nil", err)
	}
	w.balance(t, id)
}

// gauge returns the value of a metric without labels.
func (s *instance) gauge(t *testing.T, name string) float64 {
	t.Helper()
	families, err := s.faults.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}
