package convlog_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/obs"
)

// A message's journey begins when the log has it: once, also when its first answer was lost and when it is sent again.
func TestJourney(t *testing.T) {
	s := newStream("a")
	lost := true
	s.script(nil, func(int, []byte) error {
		if lost {
			lost = false
			return errors.New("the answer is lost")
		}
		return nil
	})
	rec := journey.New(journey.Config{Events: 1 << 16}, "p")
	l, _ := open(t, s, newDatabase(), func(c *convlog.Config) { c.Journey = rec })
	var id string
	for range 2 {
		ctx := obs.WithRequest(t.Context(), "r1")
		r, err := l.Append(ctx, convlog.Draft{Entry: text("ann", "m1", "hello"), Permit: convlog.Any})
		if err != nil {
			t.Fatalf("Append = %v; want nil", err)
		}
		id = string(r.MessageID)
	}
	events, _ := rec.Of(id)
	var got []string
	for _, e := range events {
		got = append(got, fmt.Sprintf("%s %s %s", e.Stage, e.User, e.Detail))
	}
	if diff := cmp.Diff([]string{"accepted ann r1", "committed ann " + string(team)}, got); diff != "" {
		t.Errorf("the journey (-want +got):\n%s", diff)
	}
	if len(events) == 2 && events[1].When.Before(events[0].When) {
		t.Errorf("committed at %v, accepted at %v; want it the other way round", events[1].When, events[0].When)
	}
}
