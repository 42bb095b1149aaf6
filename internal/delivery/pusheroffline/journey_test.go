package pusheroffline_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendortest"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/journey/journeytest"
)

// steps returns what is remembered of a message.
func (w *world) steps(message string) []string { return journeytest.Steps(w.journey, message) }

// What came of each notification is remembered, by device, in words that are no text.
func TestJourney(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *pusheroffline.Config) { c.FCM.ServiceAccountFile = "" })
	dead, bad := w.device(t, "dead", providerAPNs), w.device(t, "bad", providerAPNs)
	w.device(t, "cid", providerAPNs)
	w.device(t, "fay", providerFCM)
	w.apns.Script(dead, vendortest.Answer{Status: 410, Reason: "Unregistered", Timestamp: time.Now()})
	w.apns.Script(bad, vendortest.Answer{Status: 400, Reason: "BadPriority"})
	old := w.text()
	old.SentAt = timestamppb.New(time.Now().Add(-2 * time.Hour))
	e := w.text()
	w.publish(t, "t1", to(e, "cid", "dead", "bad", "fay", "nobody"), to(old, "cid"))
	want := map[string][]string{
		e.GetMessageId(): {
			"answered bad/d1 apns (rejected BadPriority)", "answered cid/d1 apns (accepted)", "answered dead/d1 apns (token_dead Unregistered)",
			"parked bad/d1 apns", "ringing bad/d1 apns", "ringing cid/d1 apns", "ringing dead/d1 apns",
			"skipped fay/d1 fcm (vendor not configured)", "skipped nobody (no token)",
		},
		old.GetMessageId(): {"skipped cid (expired)"},
	}
	eventually(t, "all have ended", func() bool { return len(w.steps(e.GetMessageId())) == len(want[e.GetMessageId()]) })
	for id, steps := range want {
		if diff := cmp.Diff(steps, w.steps(id)); diff != "" {
			t.Errorf("the journey of %s (-want +got):\n%s", id, diff)
		}
	}
}

// A notification to very many is remembered by counts, until the vendor answers for each.
func TestJourneyOfMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var users []string
	for i := range 2*journey.Few + 2 {
		u := fmt.Sprintf("u%d", i)
		users = append(users, u)
		if i%2 == 0 {
			w.device(t, u, providerAPNs)
		}
	}
	e := w.text()
	w.publish(t, "t1", to(e, users...))
	eventually(t, "all answered", func() bool { return len(w.steps(e.GetMessageId())) == journey.Few+1+2 })
	got := w.steps(e.GetMessageId())
	for _, want := range []string{"ringing apns ×101", "skipped ×101 (no token)", "answered u0/d1 apns (accepted)"} {
		if !slices.Contains(got, want) {
			t.Errorf("the journey is %q; want %q in it", got, want)
		}
	}
}
