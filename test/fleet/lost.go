package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/oceanchat/oceanchat/test/history"
)

// viewWithin bounds the wait for a client that is told that something was lost.
const viewWithin = 10 * time.Second

// Loss is a message that was acknowledged and is in no log.
type Loss struct {
	history.Entry
	Acked time.Time
}

// Lost returns what was lost between the last two Judges.
func (f *Fleet) Lost() []Loss {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.lost)
}

// Stale tells of the clients that the last Judge found to show what was lost, where the log holds something else.
func (f *Fleet) Stale() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.stale)
}

// forgive takes what is lost from what must be there.
func (f *Fleet) forgive(logs map[string][]history.Entry) {
	lost := f.Check.Forgive()
	total := 0
	for _, log := range logs {
		total += len(log)
	}
	if acked := f.Check.AckedCount(); total != acked+1 { // and the notice of the group's creation
		f.say("the logs hold %d entries; want the %d acknowledged ones that are not lost and one notice", total, acked)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost, f.stale = nil, nil
	for _, e := range lost {
		f.lost = append(f.lost, Loss{e, f.at[e.ClientMsgID]})
	}
	for id, log := range logs {
		f.acked[id] = uint64(len(log))
	}
}

// sameView finds clients that show something else than the logs hold, when each has had the time to learn what was lost.
// A client may still show what stood behind the end of a log: it is told when something comes in its place.
func (f *Fleet) sameView(ctx context.Context, logs map[string][]history.Entry) {
	ctx, cancel := context.WithTimeout(ctx, viewWithin)
	defer cancel()
	err := f.Until(ctx, "shows what the logs hold", func(b *Boat) bool {
		for id, log := range logs {
			if takesPart(b.User.ID, id) && b.differs(id, log) != 0 {
				return false
			}
		}
		return b.Online()
	})
	if err == nil {
		return
	}
	for _, b := range f.Boats {
		for id, log := range logs {
			if !takesPart(b.User.ID, id) {
				continue
			}
			if seq := b.differs(id, log); seq != 0 {
				f.mu.Lock()
				f.stale = append(f.stale, fmt.Sprintf("%s: %s shows another entry at seq %d than the log holds, or none", id, b.User.Username, seq))
				f.mu.Unlock()
				b.forget(id, log)
			}
		}
	}
}

// differs returns the first seq at which the client shows another entry than the log holds, or none; 0: it is the same.
func (b *Boat) differs(id string, log []history.Entry) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range log {
		if notice := e.Seq == 1 && id == "g~"+b.f.Group; !notice && b.view[id][e.Seq] != e.MessageID {
			return e.Seq
		}
	}
	return 0
}

// forget makes what the client shows what it should, so that it is told of once.
func (b *Boat) forget(id string, log []history.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range log {
		b.view[id][e.Seq] = e.MessageID
	}
}
