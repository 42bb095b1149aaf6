package pusherrealtime_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	pusherrealtimev1 "github.com/oceanchat/oceanchat/gen/oceanchat/pusherrealtime/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/journey/journeytest"
)

// steps returns what is remembered of a message.
func (w *world) steps(message string) []string { return journeytest.Steps(w.journey, message) }

func named(id string) *messagev1.Entry {
	e := text(1, "x")
	e.MessageId = id
	return e
}

// What became of a task is remembered: tries, who got it, who did not and was given to pusher-offline, also later.
func TestJourney(t *testing.T) {
	t.Parallel()
	w := newWorld()
	fails := 2
	w.serve(&gateway{id: "gw1", has: []string{"a1", "b1"}, deliver: func() error {
		if fails--; fails >= 0 {
			return fault.New(fault.Overloaded, "not now")
		}
		return nil
	}})
	w.set("ann", "gw1/a1")
	w.set("bob", "gw1/b1")
	many := make([]*presencev1.Connection, journey.Few+1)
	for i := range many {
		many[i] = connection(fmt.Sprintf("u%d", i), "gw1/gone")
	}
	w.tasks = []*flowv1.OnlineTask{
		task(t, "t1", "gw1", named("m1"), connection("ann", "gw1/a1"), connection("bob", "gw1/b1"), connection("cid", "gw1/c1")),
	}
	s := start(t, w)
	eventually(t, "the task done", func() bool { return w.done("t1") })
	_, err := s.HandBack(t.Context(), &pusherrealtimev1.HandBackRequest{
		Items: []*flowv1.OfflineItem{{Entry: named("m2"), UserIds: []string{"bob"}, DeviceId: "d-b1"}},
	})
	if err != nil {
		t.Fatalf("HandBack = %v; want nil", err)
	}
	w2 := newWorld()
	w2.serve(&gateway{id: "gw1", has: []string{"a1"}})
	w2.tasks = []*flowv1.OnlineTask{task(t, "t2", "gw1", named("m3"), append(many, connection("ann", "gw1/a1"))...)}
	start(t, w2)
	eventually(t, "the large task done", func() bool { return w2.done("t2") })

	for _, tt := range []struct {
		w    *world
		id   string
		want []string
	}{
		{w, "m1", []string{
			"handed gw1 ×2", "offline cid", "retried gw1 ×3 (OVERLOADED)", "retried gw1 ×3 (OVERLOADED)", "unreached cid/d-c1 gw1",
		}},
		{w, "m2", []string{"offline bob/d-b1"}},
		{w2, "m3", []string{"handed gw1 ×1", "offline ×101", "unreached gw1 ×101"}},
	} {
		if diff := cmp.Diff(tt.want, tt.w.steps(tt.id)); diff != "" {
			t.Errorf("the journey of %s (-want +got):\n%s", tt.id, diff)
		}
	}
}
