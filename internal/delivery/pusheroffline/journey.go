package pusheroffline

import (
	"time"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	pushv1 "github.com/oceanchat/oceanchat/gen/oceanchat/push/v1"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendorapi"
	"github.com/oceanchat/oceanchat/internal/journey"
)

// Why a device gets no notification, as journeys call it.
const (
	noToken       = "no token"
	expired       = "expired"
	notConfigured = "vendor not configured"
)

// ringing remembers the notifications that wait for their vendors since the given time: per device, or of entries with
// very many per vendor.
func (s *Service) ringing(rings []ring, since time.Time) {
	if s.deps.Journey == nil {
		return
	}
	type of struct {
		entry  *messagev1.Entry
		vendor string
	}
	all, many := map[*messagev1.Entry]int{}, map[of]int{}
	for _, r := range rings {
		all[r.entry]++
	}
	for _, r := range rings {
		vendor := providerName(pushv1.Provider(r.token.Provider))
		if all[r.entry] > journey.Few {
			many[of{r.entry, vendor}]++
			continue
		}
		s.deps.Journey.Record(journey.Event{
			When: since, Message: r.entry.GetMessageId(), Stage: journey.Ringing, Via: vendor,
			User: string(r.token.UserID), Device: string(r.token.DeviceID),
		})
	}
	for o, n := range many {
		s.deps.Journey.Record(journey.Event{When: since, Message: o.entry.GetMessageId(), Stage: journey.Ringing, Via: o.vendor, Count: n})
	}
}

// skipped remembers users of an item whom no notification is made for.
func (s *Service) skipped(i *flowv1.OfflineItem, users []string, device, vendor, why string) {
	if s.deps.Journey == nil || len(users) == 0 {
		return
	}
	e := journey.Event{
		When: time.Now(), Message: i.GetEntry().GetMessageId(), Stage: journey.Skipped, Device: device, Via: vendor, Detail: why,
	}
	if len(users) > journey.Few {
		e.Count = len(users)
		s.deps.Journey.Record(e)
		return
	}
	for _, e.User = range users {
		s.deps.Journey.Record(e)
	}
}

// outcome remembers what came of one notification.
func (v *vendor) outcome(task *flowv1.VendorTask, stage journey.Stage, what string) {
	v.s.deps.Journey.Record(journey.Event{
		When: time.Now(), Message: task.GetMessageId(), Stage: stage, User: task.GetUserId(), Device: task.GetDeviceId(),
		Via: v.name, Detail: what,
	})
}

// told is what a vendor said, in words that are no text of its own making: the class, and its code if that is one word.
func told(o vendorapi.Outcome) string {
	if o.VendorCode == "" || len(o.VendorCode) > 40 {
		return o.Class.String()
	}
	for _, c := range []byte(o.VendorCode) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return o.Class.String()
		}
	}
	return o.Class.String() + " " + o.VendorCode
}

// givenUp remembers a task that lies in the dead-letter stream.
func (s *Service) givenUp(what string, data []byte) {
	if s.deps.Journey == nil {
		return
	}
	e := journey.Event{When: time.Now(), Stage: journey.Parked}
	if what != taskName {
		task := &flowv1.VendorTask{}
		if proto.Unmarshal(data, task) == nil {
			e.Message, e.User, e.Device, e.Via = task.GetMessageId(), task.GetUserId(), task.GetDeviceId(), what
			s.deps.Journey.Record(e)
		}
		return
	}
	task := &flowv1.OfflineTask{}
	if proto.Unmarshal(data, task) != nil {
		return
	}
	for _, i := range task.GetItems() {
		e.Message, e.Device, e.Count = i.GetEntry().GetMessageId(), i.GetDeviceId(), len(i.GetUserIds())
		s.deps.Journey.Record(e)
	}
}
