package pusherrealtime

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	wsgatewayv1 "github.com/oceanchat/oceanchat/gen/oceanchat/wsgateway/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/journey"
)

// handed remembers that the gateway has taken a task, all but for whom it missed.
func (s *Service) handed(task *flowv1.OnlineTask, missed []*wsgatewayv1.Unreached, began time.Time) {
	if s.deps.Journey == nil {
		return
	}
	now, reached := time.Now(), make([]int, len(task.GetItems()))
	for i, item := range task.GetItems() {
		reached[i] = len(item.GetTo())
	}
	for _, m := range missed {
		if i := int(m.GetItem()); i < len(reached) {
			reached[i] -= len(m.GetTo())
			s.unreached(journey.Event{When: now, Message: messageID(task.Items[i].GetEntry()), Via: task.GetGatewayId()}, m)
		}
	}
	for i, item := range task.GetItems() {
		if reached[i] > 0 {
			s.deps.Journey.Record(journey.Event{
				When: began, Message: messageID(item.GetEntry()), Stage: journey.Handed, Via: task.GetGatewayId(), Count: reached[i],
			})
		}
	}
}

func (s *Service) unreached(e journey.Event, m *wsgatewayv1.Unreached) {
	e.Stage = journey.Unreached
	if len(m.GetTo()) > journey.Few {
		e.Count = len(m.GetTo())
		s.deps.Journey.Record(e)
		return
	}
	for _, c := range m.GetTo() {
		e.User, e.Device, e.Connection = c.GetUserId(), c.GetDeviceId(), c.GetConnectionId()
		s.deps.Journey.Record(e)
	}
}

// failed remembers that a task comes again, or no more.
func (s *Service) failed(task *flowv1.OnlineTask, stage journey.Stage, cause error) {
	if s.deps.Journey == nil {
		return
	}
	now, reason := time.Now(), string(fault.ReasonOf(cause))
	for _, item := range task.GetItems() {
		s.deps.Journey.Record(journey.Event{
			When: now, Message: messageID(item.GetEntry()), Stage: stage, Via: task.GetGatewayId(), Detail: reason, Count: len(item.GetTo()),
		})
	}
}

// remember tells who was given to pusher-offline at the given time.
func (o *offline) remember(task *flowv1.OfflineTask, when time.Time) {
	if o.journey == nil {
		return
	}
	for _, i := range task.GetItems() {
		e := journey.Event{When: when, Message: i.GetEntry().GetMessageId(), Stage: journey.Offline, Device: i.GetDeviceId()}
		if len(i.GetUserIds()) > journey.Few {
			e.Count = len(i.GetUserIds())
			o.journey.Record(e)
			continue
		}
		for _, e.User = range i.GetUserIds() {
			o.journey.Record(e)
		}
	}
}

// messageID returns the id in an encoded entry, without decoding the rest; "" if there is none.
func messageID(entry []byte) string {
	const field = 4 // messagev1.Entry.message_id
	for len(entry) > 0 {
		num, kind, n := protowire.ConsumeTag(entry)
		if n < 0 {
			return ""
		}
		entry = entry[n:]
		if num == field && kind == protowire.BytesType {
			id, _ := protowire.ConsumeBytes(entry)
			return string(id)
		}
		if n = protowire.ConsumeFieldValue(num, kind, entry); n < 0 {
			return ""
		}
		entry = entry[n:]
	}
	return ""
}
