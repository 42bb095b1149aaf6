package orchestrator_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/journey/journeytest"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// steps returns what is remembered of a message.
func (w *world) steps(message string) []string { return journeytest.Steps(w.journey, message) }

// Where a message is sent is remembered for each recipient, and of a message to many for each gateway.
func TestJourney(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.online["ann"] = []string{"gw1/a1"}
	w.online["bob"] = []string{"gw1/b1", "gw2/b2"}
	w.withheld["ann>dan"] = []*userv1.SeqRange{{From: 3}}
	var many []string
	for i := range journey.Few + 1 {
		u := fmt.Sprintf("u%d", i)
		many = append(many, u)
		if i < 30 {
			w.online[u] = []string{fmt.Sprintf("gw%d/%s", i%2, u)}
		}
	}
	w.notices["big"] = []*messagev1.Entry{notice("g~big", 4, messagev1.NoticeType_NOTICE_TYPE_GROUP_CREATED, many...)}
	big := text("g~big", 5, "u0")
	muted := notice("d~ann~cid", 6, messagev1.NoticeType_NOTICE_TYPE_GROUP_CREATED, "x")
	muted.MessageId = "m6"
	run(t, w, &streams{runs: [][]backbone.Message{{
		batch(t, 1, text("d~ann~bob", 1, "ann"), text("d~ann~cid", 2, "ann"), text("d~ann~dan", 3, "ann"), big, muted),
	}}})
	for id, want := range map[string][]string{
		"m1": {"routed ann/d-a1 gw1", "routed bob/d-b1 gw1", "routed bob/d-b2 gw2"},
		"m2": {"offline cid", "routed ann/d-a1 gw1"},
		"m3": {"routed ann/d-a1 gw1", "withheld dan"},
		"m5": {"offline ×71", "routed gw0 ×15", "routed gw1 ×15"},
		"m6": {"routed ann/d-a1 gw1", "skipped cid (silent)"},
	} {
		if diff := cmp.Diff(want, w.steps(id)); diff != "" {
			t.Errorf("the journey of %s (-want +got):\n%s", id, diff)
		}
	}
}
