package wsgateway

import (
	"sync/atomic"
	"time"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	"github.com/oceanchat/oceanchat/internal/journey"
)

// parcel is an entry on its way to the connections of one command. All of them share it, so what it counts costs each
// of them nothing to keep. Its entry is never changed.
type parcel struct {
	entry messagev1.Entry
	few   bool // each connection is remembered

	open  atomic.Int32 // connections that neither acknowledged nor gave back, and one while it is handed out
	acked atomic.Int32
	back  atomic.Int32
}

// addressed prepares p for so many connections.
func (s *Service) addressed(p *parcel, n int, now time.Time) {
	p.few = s.deps.Journey.Each(n, now)
	p.open.Store(int32(n) + 1)
}

// pushed remembers that p was queued for its connections, but for those missed.
func (s *Service) pushed(p *parcel, to, missed []*presencev1.Connection, when time.Time) {
	if s.deps.Journey == nil {
		return
	}
	e := journey.Event{When: when, Message: p.entry.GetMessageId(), Stage: journey.Pushed, Via: string(s.id)}
	switch {
	case !p.few:
		if e.Count = len(to) - len(missed); e.Count > 0 {
			s.deps.Journey.Record(e)
		}
	default:
		for _, c := range to {
			if len(missed) > 0 && missed[0] == c { // they are in the same order
				missed = missed[1:]
				continue
			}
			e.User, e.Device, e.Connection = c.GetUserId(), c.GetDeviceId(), c.GetConnectionId()
			s.deps.Journey.Record(e)
		}
	}
	s.settled(p, int32(len(missed))+1)
}

// acknowledged remembers what the device has, now.
func (c *conn) acknowledged(list []waiting) {
	if c.s.deps.Journey == nil || len(list) == 0 {
		return
	}
	now := time.Now()
	for _, w := range list {
		if w.of.few || w.of.acked.Add(1) == 1 { // of many, the first shows how fast it was
			c.remember(w.of, journey.Acknowledged, "", now)
		}
		c.s.settled(w.of, 1)
	}
}

// gaveBack remembers what the device did not acknowledge.
func (c *conn) gaveBack(list []waiting, cause string) {
	if c.s.deps.Journey == nil {
		return
	}
	now := time.Now()
	for _, w := range list {
		if w.of.few || w.of.back.Add(1) == 1 {
			c.remember(w.of, journey.HandedBack, cause, now)
		}
		c.s.settled(w.of, 1)
	}
}

func (c *conn) remember(p *parcel, stage journey.Stage, detail string, now time.Time) {
	c.s.deps.Journey.Record(journey.Event{
		When: now, Message: p.entry.GetMessageId(), Stage: stage, Detail: detail, Via: string(c.s.id),
		User: string(c.id.UserID), Device: string(c.id.DeviceID), Connection: string(c.id.ConnectionID),
	})
}

// settled takes n connections off p. When none is left, the counts of what went to many are remembered.
func (s *Service) settled(p *parcel, n int32) {
	if p.few || p.open.Add(-n) > 0 {
		return
	}
	e := journey.Event{When: time.Now(), Message: p.entry.GetMessageId(), Via: string(s.id), Stage: journey.Acknowledged}
	if e.Count = int(p.acked.Load()); e.Count > 1 {
		s.deps.Journey.Record(e)
	}
	e.Stage = journey.HandedBack
	if e.Count = int(p.back.Load()); e.Count > 1 {
		s.deps.Journey.Record(e)
	}
}
