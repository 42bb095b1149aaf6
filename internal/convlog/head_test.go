package convlog_test

import (
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/convlog"
)

// L3: what memory knows of a head after a start is joined with what the database knows: the newest notice may be stored
// while newer messages are not. And sentAt does not fall when the clock does.
func TestHeadOfBothTiers(t *testing.T) { attackHeadOfBothTiers(t, inMemory) }

func attackHeadOfBothTiers(t *testing.T, newStream streams) {
	s, d := newStream(t, "a"), newDatabase()
	later := time.Now().Add(time.Hour).UnixMilli()
	d.heads[team] = convlog.Head{Seq: 3, Ordinal: 2, NoticeSeq: 2, SentAt: later}
	l, stop := open(t, s, d, seldom)
	r := appendText(t, l, "m1")
	if r.Seq != 4 || r.Ordinal != 3 || r.SentAt.UnixMilli() < later {
		t.Errorf("Append behind the stored head = %+v; want seq 4, ordinal 3, sent no earlier than the entry before", r)
	}
	stop()
	l, _ = open(t, s, d, seldom)
	h, err := l.Head(t.Context(), team)
	if err != nil || h.Seq != 4 || h.NoticeSeq != 2 || h.SentAt < later {
		t.Errorf("Head after a start = %+v, %v; want seq 4, the notice at 2", h, err)
	}
}
