package convlog_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/app/stored"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
	"github.com/oceanchat/oceanchat/test/history"
)

// The tests of this file run over three servers with three replicas of each stream. Their timing is the servers': they
// wait for what must happen and judge only what clients were told against what the log holds.

// attacks are the tests of the other files that need nothing of the stream in memory.
var attacks = []struct {
	name string
	run  func(*testing.T, streams)
}{
	{"UnknownOutcome", attackUnknownOutcome},
	{"LatePublish", attackLatePublish},
	{"CallerGivesUp", attackCallerGivesUp},
	{"TwoAppenders", attackTwoAppenders},
	{"StalePermit", attackStalePermit},
	{"TailAndEviction", attackTailAndEviction},
	{"CorruptMessageIsPassed", attackCorruptMessageIsPassed},
	{"RepeatedID", attackRepeatedID},
	{"ResendOfForgotten", attackResendOfForgotten},
	{"SameIDThroughTwoAppenders", attackSameIDThroughTwoAppenders},
	{"RepeatedIDWithHash", attackRepeatedIDWithHash},
	{"KnownAppendsNothing", attackKnownAppendsNothing},
	{"KnownOfAnother", attackKnownOfAnother},
	{"HeadOfBothTiers", attackHeadOfBothTiers},
	{"RefusedAfterUnknown", attackRefusedAfterUnknown},
	{"RefusedAfterStored", attackRefusedAfterStored},
	{"FullBeforeFence", attackFullBeforeFence},
	{"MarkAheadOfAppender", attackMarkAheadOfAppender},
	{"LatePublishIsStoredFirst", attackLatePublishIsStoredFirst},
	{"LateHead", attackLateHead},
	{"PurgedUnread", attackPurgedUnread},
	{"StartBesideWriter", attackStartBesideWriter},
	{"OwnBatchPurgedUnread", attackOwnBatchPurgedUnread},
	{"ResendForgottenOnTheWay", attackResendForgottenOnTheWay},
	{"FailedAnswer", attackFailedAnswer},
	{"CrashAnywhere", func(t *testing.T, s streams) { crashAt(t, s, 2, 9) }},
}

// The attacks on each step, on a cluster.
func TestOnCluster(t *testing.T) {
	t.Parallel()
	c := backbonetest.StartCluster(t, 3)
	var next atomic.Int32
	newStream := func(t *testing.T, _ string) *stream {
		t.Helper()
		n := int(next.Add(1))
		b, _ := c.Open(t, n%3)
		l, info := openLog(t, b, n)
		return &stream{Log: l, incarnation: info.Incarnation}
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) { a.run(t, newStream) })
	}
	t.Run("Chaos", func(t *testing.T) {
		n := int(next.Add(1))
		var views []backbone.Log
		for i := range 2 {
			b, _ := c.Open(t, i)
			l, _ := openLog(t, b, n)
			views = append(views, l)
		}
		runChaos(t, views...)
	})
}

func openLog(t *testing.T, b backbone.Backbone, partition int) (backbone.Log, backbone.LogInfo) {
	t.Helper()
	l, err := b.Log(t.Context(), partition)
	if err != nil {
		t.Fatal(err)
	}
	info, err := l.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l, info
}

// blows are what only a cluster can suffer; n is the number of the blow, alternating what it hits.
var blows = []struct {
	name   string
	rounds int
	strike func(t *testing.T, c *backbonetest.Cluster, s *siege, n int)
}{
	{"the leader steps down", 3, func(t *testing.T, c *backbonetest.Cluster, s *siege, _ int) {
		c.StepDown(t, s.name)
	}},
	{"a server restarts", 2, func(t *testing.T, c *backbonetest.Cluster, s *siege, n int) {
		c.Stop(n % 3)
		s.more(20) // two of three are enough
		c.Start(t, n%3)
		c.WaitUsable(t)
	}},
	{"the leader restarts", 1, func(t *testing.T, c *backbonetest.Cluster, s *siege, _ int) {
		was := c.Leader(t, s.name)
		c.Stop(was)
		s.more(20)
		c.Start(t, was)
		c.WaitUsable(t)
	}},
	{"the quorum is lost", 1, func(t *testing.T, c *backbonetest.Cluster, s *siege, n int) {
		down := []int{n % 3, (n + 1) % 3}
		for _, i := range down {
			c.Stop(i)
		}
		s.failures(8) // sends end with OUTCOME_UNKNOWN or OVERLOADED
		for _, i := range down {
			c.Start(t, i)
		}
		c.WaitUsable(t)
	}},
}

// Invariants 1 to 3 on a cluster: two appenders, each at a server of its own, work on one partition by force, with a
// writer behind them, while leaders change and servers go and come back. No appender ends.
func TestSiege(t *testing.T) {
	t.Parallel()
	c := backbonetest.StartCluster(t, 3)
	for i, b := range blows {
		t.Run(b.name, func(t *testing.T) {
			s := besiege(t, c, i+1)
			for n := range b.rounds {
				s.more(30)
				b.strike(t, c, s, n)
			}
			s.more(30)
			s.judge()
		})
	}
}

// L7 and a leader that is cut off: for some seconds it goes on answering, and its log ends before what others have read
// and stored. Who starts there, or comes there, must not take that for a log that was set back.
func TestOldLeader(t *testing.T) {
	t.Parallel()
	c := backbonetest.StartWired(t)
	name := backbone.LogStream(1)
	b, _ := c.Open(t, 0)
	openLog(t, b, 1)
	old := c.Leader(t, name)
	var sides [2]backbone.Log // of the old leader, of the new one
	for i, at := range []int{old, (old + 1) % 3} {
		b, _ := c.OpenAt(t, at)
		sides[i], _ = openLog(t, b, 1)
	}
	i, err := sides[1].Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, d := &stream{Log: sides[1], incarnation: i.Incarnation}, newDatabase()
	moves := &movable{Log: sides[1]}
	running := start(t, moves, d, nil)
	wantSeq(t, running.Log, "m1", 1)

	c.Isolate(old)
	acked := convlog.Result{}
	eventually(t, "the others go on", func() bool {
		d := convlog.Draft{Entry: text("ann", "m2", "body of m2"), Permit: convlog.Any, Resend: true}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		acked, err = running.Append(ctx, d)
		return err == nil
	})
	d.store(t, s, 2)
	if i, err := sides[0].Info(t.Context()); err != nil || i.Last != 1 {
		t.Logf("the old leader knows (%v) or is none any more (%v): this run shows little", i, err)
	}
	moves.to(sides[0])
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := running.Append(ctx, convlog.Draft{Entry: text("ann", "m3", "body of m3"), Permit: convlog.Any}); err == nil {
		t.Error("Append at a server that is cut off = nil; want an error")
	}
	cfg := convlog.Defaults(1)
	cfg.PublishTimeout = time.Second
	early := convlog.New(cfg, []backbone.Log{sides[0]}, d, discard(), func(kind string) { t.Errorf("alarm %s; want none", kind) })
	ctx, cancel = context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := early.Run(ctx, func() { t.Error("ready at a server that is cut off") }); err == nil && ctx.Err() == nil {
		t.Error("Run at a server that is cut off = nil; want an error")
	}

	c.Join(old)
	eventually(t, "the old leader follows", func() bool { return sides[0].Confirm(t.Context()) == nil })
	late, _ := open(t, sides[0], d, nil)
	if epoch, _, err := late.Positions(t.Context()); epoch != 1 || err != nil {
		t.Errorf("epoch = %d, %v; want 1: nothing was lost", epoch, err)
	}
	select {
	case <-running.over:
		t.Errorf("the running log has ended: %v; want it to go on", running.stop())
	default:
		wantSeq(t, running.Log, "m3", 3)
	}
	contiguous(t, s, map[string]uint64{"m1": 1, "m2": acked.Seq, "m3": 3})
}

// movable is a log whose connection moves from server to server.
type movable struct {
	backbone.Log // where it begins
	now          atomic.Pointer[backbone.Log]
}

func (m *movable) to(l backbone.Log) { m.now.Store(&l) }

func (m *movable) at() backbone.Log {
	if l := m.now.Load(); l != nil {
		return *l
	}
	return m.Log
}

func (m *movable) Append(ctx context.Context, data []byte, expect uint64) (uint64, error) {
	return m.at().Append(ctx, data, expect)
}

func (m *movable) Info(ctx context.Context) (backbone.LogInfo, error) { return m.at().Info(ctx) }

func (m *movable) Confirm(ctx context.Context) error { return m.at().Confirm(ctx) }

func (m *movable) Get(ctx context.Context, seq uint64) (backbone.Message, error) {
	return m.at().Get(ctx, seq)
}

// siege is two appenders with senders that never stop.
type siege struct {
	t     *testing.T
	name  string // of the stream
	check history.Checker
	logs  []*convlog.Log
	over  func() // ends the senders and waits for them
	end   func() // judges what is stored

	acked, failed atomic.Int64
}

var siegeConversations = []chat.ConversationID{team, "g~other", "d~ann~bob"}

func besiege(t *testing.T, c *backbonetest.Cluster, partition int) *siege {
	t.Helper()
	s := &siege{t: t, name: backbone.LogStream(partition)}
	db := openSQLite(t)
	var first backbone.Log
	for i := range 2 {
		b, _ := c.Open(t, i)
		l, _ := openLog(t, b, partition)
		log, _ := open(t, l, stored.Of(db.Log()), func(c *convlog.Config) {
			c.Heads, c.RecentBytes, c.BatchEntries = 2, 2000, 8
			c.LookEvery = 50 * time.Millisecond
		})
		s.logs, first = append(s.logs, log), l
	}
	write(t, db, first)
	ctx, cancel := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	for w := range 6 {
		senders.Go(func() { s.send(ctx, w) })
	}
	s.over = sync.OnceFunc(func() { cancel(); senders.Wait() })
	t.Cleanup(s.over)
	s.end = func() {
		s.over()
		wantAllStored(t, db, first)
		judge(t, &s.check, db, siegeConversations...)
	}
	return s
}

// send sends until ctx ends; what is not acknowledged is sent again with the same id, through either appender.
func (s *siege) send(ctx context.Context, w int) {
	name := fmt.Sprint("user", w)
	for i := 0; ctx.Err() == nil; i++ {
		c, id := siegeConversations[(w+i)%len(siegeConversations)], fmt.Sprint("m", i)
		for try := 0; ctx.Err() == nil; try++ {
			e := text(name, id, "body of "+id)
			e.ConversationId = string(c)
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			r, err := s.logs[(w+i+try)%2].Append(ctx, convlog.Draft{Entry: e, Permit: convlog.Any, Resend: try > 0})
			cancel()
			if err == nil {
				s.check.Acked(history.Entry{
					Conversation: string(c), Seq: r.Seq, MessageID: string(r.MessageID), ClientMsgID: id, Sender: name,
				})
				s.acked.Add(1)
				break
			}
			if !fault.IsReason(err, fault.OutcomeUnknown) && !fault.IsReason(err, fault.Overloaded) {
				s.t.Errorf("Append = %v; want OUTCOME_UNKNOWN or OVERLOADED", err)
			}
			s.failed.Add(1)
			<-time.After(10 * time.Millisecond)
		}
	}
}

// more waits until n more sends were acknowledged.
func (s *siege) more(n int64) {
	s.t.Helper()
	s.wait(fmt.Sprint(n, " more acknowledged"), &s.acked, n)
}

// failures waits until n more sends have failed.
func (s *siege) failures(n int64) {
	s.t.Helper()
	s.wait(fmt.Sprint(n, " more failed"), &s.failed, n)
}

func (s *siege) wait(what string, count *atomic.Int64, n int64) {
	s.t.Helper()
	want := count.Load() + n
	for end := time.Now().Add(40 * time.Second); count.Load() < want; {
		if time.Now().After(end) {
			s.t.Fatalf("not within 40 s: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// judge ends the siege: every sender's view must agree with the log, as both appenders read it and as it is stored.
func (s *siege) judge() {
	s.t.Helper()
	s.end()
	var heads [2][]uint64
	for i, l := range s.logs {
		for _, c := range siegeConversations {
			h, err := l.Head(s.t.Context(), c)
			if err != nil {
				s.t.Errorf("Head(%s) = %v", c, err)
			}
			heads[i] = append(heads[i], h.Seq)
		}
	}
	if !slices.Equal(heads[0], heads[1]) {
		s.t.Errorf("the appenders' heads are %v and %v; want the same", heads[0], heads[1])
	}
	s.t.Logf("%d acknowledged, %d failed", s.acked.Load(), s.failed.Load())
}
