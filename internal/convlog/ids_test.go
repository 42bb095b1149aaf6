package convlog_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// Invariant 3: a repeated clientMsgId has one effect.
func TestRepeatedID(t *testing.T) { attackRepeatedID(t, inMemory) }

func attackRepeatedID(t *testing.T, newStream streams) {
	s, d := newStream(t, "a"), newDatabase()
	l, stop := open(t, s, d, nil)
	first := appendText(t, l, "m1")
	if again := appendText(t, l, "m1"); again != first {
		t.Errorf("the repeated Append = %+v; want the first one's %+v", again, first)
	}
	_, err := l.Append(t.Context(), convlog.Draft{Entry: text("ann", "m1", "another body"), Permit: convlog.Any})
	if !fault.IsReason(err, fault.ClientMsgIDReused) {
		t.Errorf("the same id with another body = %v; want CLIENT_MSG_ID_REUSED", err)
	}
	if r, err := l.Append(t.Context(), convlog.Draft{Entry: text("bob", "m1", "bob's"), Permit: convlog.Any}); err != nil || r.Seq != 2 {
		t.Errorf("another sender's m1 = seq %d, %v; want 2: ids are per sender", r.Seq, err)
	}
	stop()
	l, stop = open(t, s, d, nil)
	if again := appendText(t, l, "m1"); again != first {
		t.Errorf("after a restart the repeated Append = %+v; want %+v", again, first)
	}
	stop()
	d.store(t, s, 2)
	l, _ = open(t, s, d, nil)
	if again := appendText(t, l, "m1"); again != first {
		t.Errorf("after storing and a restart the repeated Append = %+v; want %+v", again, first)
	}
	contiguous(t, s, map[string]uint64{})
}

// Invariant 3: twins that arrive while another publish is under way, and would share the next batch, have one effect.
func TestTwinsInOneBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream("a")
		release := make(chan struct{})
		s.script(func(n int, _ []byte) error {
			if n == 1 {
				<-release
			}
			return nil
		}, nil)
		l, stop := open(t, s, newDatabase(), seldom)
		var wg sync.WaitGroup
		wg.Go(func() { appendText(t, l, "first") })
		synctest.Wait()
		var twins [8]convlog.Result
		for i := range twins {
			wg.Go(func() { twins[i] = appendText(t, l, "twin") })
		}
		synctest.Wait() // now all of them wait for the first publish
		close(release)
		wg.Wait()
		for i, r := range twins {
			if r != twins[0] || r.Seq != 2 {
				t.Errorf("twin %d = %+v; want seq 2, like the first one's %+v", i, r, twins[0])
			}
		}
		contiguous(t, s, map[string]uint64{"first": 1, "twin": 2})
		stop()
	})
}

// Invariant 3 beyond the remembered ids: a resend is looked up among what is not stored, and in the database.
func TestResendOfForgotten(t *testing.T) { attackResendOfForgotten(t, inMemory) }

func attackResendOfForgotten(t *testing.T, newStream streams) {
	for _, stored := range []bool{false, true} {
		t.Run(fmt.Sprintf("stored=%v", stored), func(t *testing.T) {
			s, d := newStream(t, "a"), newDatabase()
			l, _ := open(t, s, d, func(c *convlog.Config) { c.IDs = 4; c.RecentBytes = 1 })
			first := appendText(t, l, "m0")
			for i := range 20 {
				appendText(t, l, fmt.Sprint("filler", i))
			}
			if stored {
				d.store(t, s, 21)
			}
			got, err := l.Append(t.Context(), convlog.Draft{Entry: text("ann", "m0", "body of m0"), Permit: convlog.Any, Resend: true})
			if err != nil || got != first {
				t.Fatalf("resend = %+v, %v; want %+v", got, err, first)
			}
			_, err = l.Append(t.Context(), convlog.Draft{Entry: text("ann", "m0", "other"), Permit: convlog.Any, Resend: true})
			if !fault.IsReason(err, fault.ClientMsgIDReused) {
				t.Errorf("resend with another body = %v; want CLIENT_MSG_ID_REUSED", err)
			}
			if r, err := l.Append(t.Context(), convlog.Draft{Entry: text("ann", "fresh", "x"), Permit: convlog.Any, Resend: true}); err != nil || r.Seq != 22 {
				t.Errorf("resend of what never arrived = seq %d, %v; want 22", r.Seq, err)
			}
		})
	}
}

// The same id through two appenders at once: one effect, one answer.
func TestSameIDThroughTwoAppenders(t *testing.T) { attackSameIDThroughTwoAppenders(t, inMemory) }

func attackSameIDThroughTwoAppenders(t *testing.T, newStream streams) {
	s, d := newStream(t, "a"), newDatabase()
	one, _ := open(t, s, d, nil)
	two, _ := open(t, s, d, nil)
	for i := range 50 {
		id := fmt.Sprint("m", i)
		var got [4]convlog.Result
		var wg sync.WaitGroup
		for k := range got {
			wg.Go(func() {
				l := []*convlog.Log{one, two}[k%2]
				got[k], _ = l.Append(t.Context(), convlog.Draft{Entry: text("ann", id, id), Permit: convlog.Any})
			})
		}
		wg.Wait()
		for _, r := range got {
			if r != got[0] || r.Seq == 0 {
				t.Fatalf("%s: %+v and %+v; want one answer", id, r, got[0])
			}
		}
	}
	contiguous(t, s, map[string]uint64{})
}

// L4: what tells bodies apart is the hash that the draft carries, over a restart and in the database too.
func TestRepeatedIDWithHash(t *testing.T) { attackRepeatedIDWithHash(t, inMemory) }

func attackRepeatedIDWithHash(t *testing.T, newStream streams) {
	s, d := newStream(t, "a"), newDatabase()
	l, stop := open(t, s, d, nil)
	as := func(l *convlog.Log, body string, hash uint64) (convlog.Result, error) {
		return l.Append(t.Context(), convlog.Draft{Entry: text("ann", "m1", body), Hash: hash, Resend: true, Permit: convlog.Any})
	}
	first, err := as(l, "made of it", 7)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if again, err := as(l, "made of it later", 7); err != nil || again != first {
			t.Errorf("the same hash = %+v, %v; want the first one's %+v", again, err, first)
		}
		if _, err := as(l, "made of it", 8); !fault.IsReason(err, fault.ClientMsgIDReused) {
			t.Errorf("another hash = %v; want CLIENT_MSG_ID_REUSED", err)
		}
		stop()
		l, stop = open(t, s, d, nil)
	}
}

// L4: with Known an earlier attempt's place is found, remembered or stored, and nothing is appended.
func TestKnownAppendsNothing(t *testing.T) { attackKnownAppendsNothing(t, inMemory) }

func attackKnownAppendsNothing(t *testing.T, newStream streams) {
	s, d := newStream(t, "a"), newDatabase()
	l, stop := open(t, s, d, nil)
	first := appendText(t, l, "m1")
	known := func(l *convlog.Log, id string) (convlog.Result, error) {
		return l.Append(t.Context(), convlog.Draft{Entry: text("ann", id, "body of "+id), Resend: true, Known: true, Permit: convlog.Any})
	}
	for range 2 {
		if again, err := known(l, "m1"); err != nil || again != first {
			t.Errorf("m1 = %+v, %v; want the first one's %+v", again, err, first)
		}
		if _, err := known(l, "m2"); !errors.Is(err, convlog.ErrStalePermit) {
			t.Errorf("m2 = %v; want ErrStalePermit", err)
		}
		stop()
		l, stop = open(t, s, d, nil)
	}
	contiguous(t, s, map[string]uint64{"m1": 1})
}

// L4: what another appender has appended is known, too, also where nothing is appended that would fence.
func TestKnownOfAnother(t *testing.T) { attackKnownOfAnother(t, inMemory) }

func attackKnownOfAnother(t *testing.T, newStream streams) {
	s, d := newStream(t, "a"), newDatabase()
	one, _ := open(t, s, d, nil)
	two, _ := open(t, s, d, nil)
	first := appendText(t, one, "m1")
	again, err := two.Append(t.Context(), convlog.Draft{
		Entry: text("ann", "m1", "body of m1"), Resend: true, Known: true, Permit: convlog.Any,
	})
	if err != nil || again != first {
		t.Errorf("m1 through another appender = %+v, %v; want the first one's %+v", again, err, first)
	}
}

// L4 without a clock: the servers that stamp messages and those that append may disagree about the time.
func TestIDsAcrossClocks(t *testing.T) {
	for _, ahead := range []time.Duration{-time.Hour, 0, time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			s, d := newStream("a"), newDatabase()
			s.clock = ahead
			one, _ := open(t, s, d, func(c *convlog.Config) { c.IDs = 10 })
			two, _ := open(t, s, d, nil)
			var next uint64
			for i := range 12 {
				l := []*convlog.Log{one, two}[i%2]
				next++
				wantSeq(t, l, fmt.Sprint("m", i), next)
				for back := range min(i+1, 4) { // half of what it holds is always there
					wantSeq(t, one, fmt.Sprint("m", i-back), next-uint64(back))
				}
			}
		})
	}
}

// L4: an id is remembered for the whole time, wherever in a generation it came, also after a restart.
func TestIDsForTheWholeTime(t *testing.T) {
	const span = 10 * time.Minute
	synctest.Test(t, func(t *testing.T) {
		s, d := newStream("a"), newDatabase()
		l, stop := open(t, s, d, func(c *convlog.Config) { c.IDsFor, c.MarkEvery = span, time.Hour })
		begin, sent := time.Now(), map[string]time.Time{}
		for i := range 60 {
			id := fmt.Sprint("m", i)
			wantSeq(t, l, id, uint64(i+1))
			sent[id] = time.Now()
			for id, at := range sent {
				if time.Since(at) < span {
					wantSeq(t, l, id, uint64(at.Sub(begin)/(47*time.Second))+1)
				}
			}
			if i%20 == 19 {
				stop()
				l, stop = open(t, s, d, func(c *convlog.Config) { c.IDsFor, c.MarkEvery = span, time.Hour })
			}
			time.Sleep(47 * time.Second)
		}
		stop()
	})
}
