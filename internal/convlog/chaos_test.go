package convlog_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/app/stored"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
	"github.com/oceanchat/oceanchat/internal/support/persistence"
	"github.com/oceanchat/oceanchat/test/history"
)

// The tests of this file run the log with real neighbours: the embedded backbone, the writer, and SQLite.

func openSQLite(t *testing.T) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "oceanchat.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func partition(t *testing.T, b backbone.Backbone) backbone.Log {
	t.Helper()
	l, err := b.Log(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// write runs the writer, which purges at once what it stored, until the test ends or stop is called.
func write(t *testing.T, db *sqlite.DB, s backbone.Log) (stop func()) {
	t.Helper()
	w := persistence.New(persistence.Config{BatchRuns: 16, Heads: 1000, PurgeEvery: time.Millisecond}, persistence.Retention{},
		[]backbone.Log{s}, db.Log(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- w.Run(ctx, func() {}) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-over; err != nil {
			t.Errorf("Run of the writer = %v; want nil", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// wantAllStored waits until the writer has stored everything in s.
func wantAllStored(t *testing.T, db *sqlite.DB, s backbone.Log) {
	t.Helper()
	eventually(t, "everything is stored", func() bool {
		info, err := s.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m, err := db.Log().Mark(t.Context(), 0)
		return err == nil && m == (store.Mark{Incarnation: info.Incarnation, Position: info.Last})
	})
}

// storedIn returns what the database holds of a conversation.
func storedIn(t *testing.T, db *sqlite.DB, c chat.ConversationID) []*messagev1.Entry {
	t.Helper()
	rows, err := db.Reader().Range(t.Context(), c, 1, math.MaxInt64, math.MaxInt32, false)
	if err != nil {
		t.Fatal(err)
	}
	var out []*messagev1.Entry
	for _, r := range rows {
		var le flowv1.LogEntry
		if err := proto.Unmarshal(r.Data, &le); err != nil {
			t.Fatal(err)
		}
		out = append(out, le.GetEntry())
	}
	return out
}

// judge fails unless the stored conversations agree with what senders were told, ordinals count what raises the
// unread number, and sentAt never falls.
func judge(t *testing.T, check *history.Checker, db *sqlite.DB, cs ...chat.ConversationID) {
	t.Helper()
	for _, c := range cs {
		log := []history.Entry{}
		var ordinal uint64
		var at time.Time
		for _, e := range storedIn(t, db, c) {
			if convlog.Raises(e) {
				ordinal++
			}
			if e.GetOrdinal() != ordinal || e.GetSentAt().AsTime().Before(at) {
				t.Errorf("%s seq %d: ordinal %d, sent at %s; want %d, not before %s", c, e.GetSeq(), e.GetOrdinal(), e.GetSentAt().AsTime(), ordinal, at)
			}
			at = e.GetSentAt().AsTime()
			log = append(log, seen(e))
		}
		check.Log(string(c), log)
	}
	for i, v := range check.Violations() {
		if t.Error(v); i == 20 {
			t.Fatal("and more")
		}
	}
}

func seen(e *messagev1.Entry) history.Entry {
	return history.Entry{
		Conversation: e.GetConversationId(), Seq: e.GetSeq(), MessageID: e.GetMessageId(), ClientMsgID: e.GetClientMsgId(), Sender: e.GetSenderId(),
	}
}

// Invariants 1 to 3: two appenders on one real stream under every fault there is, with a writer that stores and purges
// behind them, and so little memory that heads, ids and bodies keep leaving it.
func TestChaos(t *testing.T) {
	t.Parallel()
	s := partition(t, backbonetest.Open(t))
	runChaos(t, s, s)
}

// runChaos has one appender over each of two views of a stream.
func runChaos(t *testing.T, views ...backbone.Log) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	db, real := openSQLite(t), views[0]
	var check history.Checker
	c := &chaos{t: t, check: &check}
	for _, s := range views {
		f := backbonetest.NewFaulty(s)
		l, _ := open(t, f, stored.Of(db.Log()), func(c *convlog.Config) {
			c.Heads, c.IDs, c.RecentBytes, c.BatchEntries, c.LookEvery = 2, 16, 2000, 8, 20*time.Millisecond
		})
		c.logs, c.faults = append(c.logs, l), append(c.faults, f)
	}
	write(t, db, real)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() { c.sender(fmt.Sprint("user", w), rand.New(rand.NewPCG(seed, uint64(w))), 24) })
	}
	wg.Wait()
	for _, f := range c.faults {
		f.Release() // what is late comes last
	}
	wantAllStored(t, db, real)
	judge(t, &check, db, chaosConversations...)
	t.Logf("%d acknowledged, %d attempts to publish", check.AckedCount(), c.faults[0].Appends()+c.faults[1].Appends())
}

var chaosConversations = []chat.ConversationID{team, "g~other", "d~ann~bob", "i~ann"}

type chaos struct {
	t      *testing.T
	check  *history.Checker
	logs   []*convlog.Log
	faults []*backbonetest.Faulty
}

// sender sends n entries, each until it has an answer or no patience, and makes trouble between them.
func (c *chaos) sender(name string, r *rand.Rand, n int) {
	for i := range n {
		conv := chaosConversations[r.IntN(len(chaosConversations))]
		id, isNotice := fmt.Sprint("m", i), r.IntN(8) == 0
		draft := func() convlog.Draft {
			e := text(name, id, "body of "+id)
			if isNotice {
				e = notice(id)
			}
			e.SenderId, e.ConversationId = name, string(conv)
			return convlog.Draft{Entry: e, Permit: convlog.Any}
		}
		first, ok := c.send(r, draft)
		if !ok {
			continue
		}
		if r.IntN(3) > 0 {
			continue
		}
		d := draft()
		d.Resend = true
		if again, err := c.logs[r.IntN(2)].Append(c.t.Context(), d); err == nil && again != first {
			c.t.Errorf("%s's %s = %+v, and %+v when repeated", name, id, first, again)
		}
	}
}

func (c *chaos) send(r *rand.Rand, draft func() convlog.Draft) (convlog.Result, bool) {
	for try := range 30 {
		c.trouble(r)
		d := draft()
		d.Resend = try > 0
		ctx, cancel := context.WithCancel(c.t.Context())
		if r.IntN(6) == 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(5000))*time.Microsecond)
		}
		res, err := c.logs[r.IntN(2)].Append(ctx, d)
		cancel()
		e := d.Entry
		switch {
		case err == nil:
			c.check.Acked(history.Entry{
				Conversation: e.GetConversationId(), Seq: res.Seq, MessageID: string(res.MessageID), ClientMsgID: e.GetClientMsgId(), Sender: e.GetSenderId(),
			})
			return res, true
		case fault.IsReason(err, fault.LogFull) && try == 0 && r.IntN(2) == 0:
			c.check.Refused(e.GetSenderId(), e.GetConversationId(), e.GetClientMsgId())
			return res, false
		case fault.IsReason(err, fault.LogFull), fault.IsReason(err, fault.OutcomeUnknown), fault.IsReason(err, fault.Overloaded):
			if r.IntN(10) == 0 {
				return res, false // gone without knowing
			}
		default:
			c.t.Errorf("Append = %v; want one of the log's faults", err)
			return res, false
		}
	}
	return convlog.Result{}, false
}

func (c *chaos) trouble(r *rand.Rand) {
	f := c.faults[r.IntN(2)]
	switch r.IntN(6) {
	case 0:
		f.Next(backbonetest.LoseAck)
	case 1:
		f.Next(backbonetest.StoreLate, backbonetest.FailBefore)
	case 2:
		f.Next(backbonetest.Conflict, backbonetest.Pass, backbonetest.Full)
	case 3:
		f.Release()
	case 4:
		f.FailReads(1 + r.IntN(2))
	case 5:
		l := c.logs[r.IntN(2)]
		conv := chaosConversations[r.IntN(len(chaosConversations))]
		if tail, err := l.Tail(c.t.Context(), conv, 1, math.MaxInt64, 20, true); err == nil {
			for _, e := range tail.Entries {
				c.check.Received("a reader", seen(e))
			}
		}
	}
}
