package orchestrator

import (
	"time"

	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/journey"
)

// remember tells where the entries of a plan went, as was decided at the given time, now that their tasks are stored:
// per device, or of entries with many recipients per gateway.
func (s *Service) remember(p *plan, online map[chat.UserID][]*presencev1.Connection, decided time.Time) {
	if s.deps.Journey == nil {
		return
	}
	for i := range p.deliveries {
		d := &p.deliveries[i]
		if !s.deps.Journey.Each(len(d.users), decided) {
			s.rememberMany(d, online, decided)
			continue
		}
		for _, u := range d.users {
			s.rememberOne(d, u, online[u], decided)
		}
	}
}

func (s *Service) rememberOne(d *delivery, u chat.UserID, live []*presencev1.Connection, decided time.Time) {
	e := journey.Event{When: decided, Message: d.entry.GetMessageId(), User: string(u)}
	switch {
	case u == d.withheld:
		e.Stage = journey.Withheld
	case len(live) > 0:
		for _, c := range live {
			e.Stage, e.Device, e.Via, e.Connection = journey.Routed, c.GetDeviceId(), c.GetGatewayId(), c.GetConnectionId()
			s.deps.Journey.Record(e)
		}
		return
	case string(u) == d.entry.GetSenderId():
		return
	case convlog.Raises(d.entry):
		e.Stage = journey.Offline
	default:
		e.Stage, e.Detail = journey.Skipped, "silent" // off line, and nobody is notified of this kind
	}
	s.deps.Journey.Record(e)
}

func (s *Service) rememberMany(d *delivery, online map[chat.UserID][]*presencev1.Connection, decided time.Time) {
	gateways, offline := map[string]int{}, 0
	for _, u := range d.users {
		for _, c := range online[u] {
			gateways[c.GetGatewayId()]++
		}
		if len(online[u]) == 0 && string(u) != d.entry.GetSenderId() {
			offline++
		}
	}
	e := journey.Event{When: decided, Message: d.entry.GetMessageId(), Stage: journey.Routed}
	for e.Via, e.Count = range gateways {
		s.deps.Journey.Record(e)
	}
	if offline > 0 && convlog.Raises(d.entry) {
		e.Stage, e.Via, e.Count = journey.Offline, "", offline
		s.deps.Journey.Record(e)
	}
}
