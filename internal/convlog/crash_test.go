package convlog_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/test/history"
)

var errDead = errors.New("dead")

// manner is how a process dies at a step.
type manner string

const (
	before manner = "before" // the step is not done
	after  manner = "after"  // it is done, and nobody hears of it
	late   manner = "late"   // it is not done, but a publish arrives after the next start
)

// fuse lets a process die at its at-th step of any kind: from then on nothing succeeds.
type fuse struct {
	manner manner
	at     int
	die    context.CancelFunc

	mu    sync.Mutex // guards what follows
	steps int
	wire  func() // what is still on its way
}

// blown counts a step and reports whether the process is dead, and whether this step was its last.
func (f *fuse) blown() (dead, last bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps++
	if f.steps == f.at {
		f.die()
	}
	return f.steps >= f.at, f.steps == f.at
}

// step does what the process would do.
func step[T any](f *fuse, do func() (T, error)) (T, error) {
	var none T
	dead, last := f.blown()
	if !dead {
		return do()
	}
	if last && f.manner == after {
		_, _ = do()
	}
	return none, errDead
}

type mortalLog struct {
	backbone.Log
	f *fuse
}

func (l mortalLog) Append(ctx context.Context, data []byte, expect uint64) (uint64, error) {
	return step(l.f, func() (uint64, error) { return l.Log.Append(ctx, data, expect) })
}

// lateLog keeps the last publish on the wire.
type lateLog struct{ mortalLog }

func (l lateLog) Append(ctx context.Context, data []byte, expect uint64) (uint64, error) {
	l.f.mu.Lock()
	data = append([]byte(nil), data...)
	if l.f.steps+1 == l.f.at {
		l.f.wire = func() { _, _ = l.Log.Append(context.WithoutCancel(ctx), data, expect) }
	}
	l.f.mu.Unlock()
	return l.mortalLog.Append(ctx, data, expect)
}

func (l mortalLog) Info(ctx context.Context) (backbone.LogInfo, error) {
	return step(l.f, func() (backbone.LogInfo, error) { return l.Log.Info(ctx) })
}

func (l mortalLog) Get(ctx context.Context, seq uint64) (backbone.Message, error) {
	return step(l.f, func() (backbone.Message, error) { return l.Log.Get(ctx, seq) })
}

func (l mortalLog) SeqAt(ctx context.Context, at time.Time) (uint64, error) {
	return step(l.f, func() (uint64, error) { return l.Log.SeqAt(ctx, at) })
}

func (l mortalLog) Read(ctx context.Context, from, to uint64, fn func(backbone.Message) error) error {
	return l.Log.Read(ctx, from, to, func(m backbone.Message) error {
		_, err := step(l.f, func() (struct{}, error) { return struct{}{}, fn(m) })
		return err
	})
}

type mortalDB struct {
	*database
	f *fuse
}

func (d mortalDB) Head(ctx context.Context, c chat.ConversationID) (convlog.Head, error) {
	return step(d.f, func() (convlog.Head, error) { return d.database.Head(ctx, c) })
}

func (d mortalDB) Find(ctx context.Context, u chat.UserID, c chat.ConversationID, id string) (*flowv1.LogEntry, error) {
	return step(d.f, func() (*flowv1.LogEntry, error) { return d.database.Find(ctx, u, c, id) })
}

func (d mortalDB) MoveMark(ctx context.Context, p int, from, to convlog.Mark, raise bool) (bool, error) {
	return step(d.f, func() (bool, error) { return d.database.MoveMark(ctx, p, from, to, raise) })
}

// Invariants 1 to 3: the process dies at every step of its life in turn, before and after the step, or with a publish
// on the wire. The next one has all that was acknowledged, and the repetition of everything has one effect.
func TestCrashAnywhere(t *testing.T) {
	t.Parallel()
	crashAt(t, inMemory, 1, 1)
}

// crashAt crashes at step first and at every stride-th behind it.
func crashAt(t *testing.T, newStream streams, first, stride int) {
	for _, m := range []manner{before, after, late} {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			last := 0
			for at := first; dieAt(t, newStream, m, at); at += stride {
				last = at
			}
			if last < 10 {
				t.Errorf("the process died last at step %d; want at least 10: the test does not reach them", last)
			}
		})
	}
}

// dieAt runs one life that dies at a step, and one after it. It returns false if the first life was over before.
func dieAt(t *testing.T, newStream streams, m manner, at int) bool {
	t.Helper()
	s, d := newStream(t, "a"), newDatabase()
	seedLife(t, s, d)
	check := &acks{t: t, first: map[string]convlog.Result{}}
	ctx, die := context.WithCancel(context.Background())
	defer die()
	f := &fuse{manner: m, at: at, die: die}
	var l backbone.Log = mortalLog{s, f}
	if m == late {
		l = lateLog{mortalLog{s, f}}
	}
	mortal(t, ctx, l, mortalDB{d, f}, func(l *convlog.Log) { sendAll(ctx, l, check, false) })
	died := ctx.Err() != nil

	next, stop := open(t, s, d, nil)
	if f.wire != nil {
		f.wire()
	}
	sendAll(t.Context(), next, check, true)
	d.store(t, s, s.end()) // the writer finds no hole
	stop()
	logs := map[string][]history.Entry{}
	for _, e := range s.entries(t) {
		logs[e.GetConversationId()] = append(logs[e.GetConversationId()], seen(e))
	}
	for c, log := range logs {
		check.Log(c, log)
	}
	if got := check.AckedCount(); got != 2+8 {
		t.Errorf("%d acknowledged; want 10", got)
	}
	for _, v := range check.Violations() {
		t.Errorf("died %s step %d: %s", m, at, v)
	}
	return died && !t.Failed()
}

// seedLife leaves a log as a new process may find it: some of it is stored, some is not.
func seedLife(t *testing.T, s *stream, d *database) {
	t.Helper()
	l, stop := open(t, s, d, nil)
	for i := range 3 {
		if _, err := send(t, l, team, fmt.Sprint("seed", i)); err != nil {
			t.Fatal(err)
		}
	}
	d.store(t, s, 2)
	stop()
}

// mortal runs a log until it is dead or has done its work.
func mortal(t *testing.T, ctx context.Context, s backbone.Log, d convlog.Stored, work func(*convlog.Log)) {
	t.Helper()
	cfg := convlog.Defaults(1)
	cfg.PublishTimeout, cfg.MarkEvery, cfg.IDs, cfg.RecentBytes = time.Second, time.Hour, 2, 1
	l := convlog.New(cfg, []backbone.Log{s}, d, discard(), func(string) {})
	ctx, cancel := context.WithCancel(ctx)
	ready, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		_ = l.Run(ctx, func() { close(ready) })
	}()
	select {
	case <-ready:
		work(l)
	case <-over:
	}
	cancel()
	<-over
}

// acks are the answers of both lives.
type acks struct {
	history.Checker
	t *testing.T

	mu    sync.Mutex // guards first
	first map[string]convlog.Result
}

// acked records an answer; a later one to the same id must be the same.
func (a *acks) acked(c chat.ConversationID, id string, r convlog.Result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := string(c) + " " + id
	if old, ok := a.first[k]; ok && old != r {
		a.t.Errorf("%s was answered with %+v, and after the crash with %+v", k, old, r)
	}
	a.first[k] = r
	a.Acked(history.Entry{Conversation: string(c), Seq: r.Seq, MessageID: string(r.MessageID), ClientMsgID: id, Sender: "ann"})
}

// sendAll sends what a life has to send: the seeds again, messages of two conversations at once, a notice.
func sendAll(ctx context.Context, l *convlog.Log, check *acks, repeat bool) {
	send := func(c chat.ConversationID, e *messagev1.Entry) {
		e.ConversationId = string(c)
		resend := repeat || e.GetClientMsgId() == "seed0" || e.GetClientMsgId() == "seed2"
		if r, err := l.Append(ctx, convlog.Draft{Entry: e, Permit: convlog.Any, Resend: resend}); err == nil {
			check.acked(c, e.GetClientMsgId(), r)
		}
	}
	var wg sync.WaitGroup
	for _, c := range []chat.ConversationID{team, "g~other"} {
		wg.Go(func() {
			if c == team {
				send(c, text("ann", "seed0", "body of seed0"))
				send(c, text("ann", "seed2", "body of seed2"))
			}
			for i := range 3 {
				send(c, text("ann", fmt.Sprint("m", i), "x"))
			}
			send(c, notice("n"))
		})
	}
	wg.Wait()
}
