package recovery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/app/stored"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/command"
	"github.com/oceanchat/oceanchat/internal/command/recovery"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
	"github.com/oceanchat/oceanchat/internal/support/persistence"
)

// handedOn is a reader beside the writer.
const handedOn = "reader"

// world is a log and a database without a server.
type world struct {
	t          *testing.T
	b          recovery.Data // its Backbone
	db         *sqlite.DB
	partitions int
	noted      int
	sent       map[chat.ConversationID]uint64 // the seq of the newest
	conns      []chat.ConversationID
}

func newWorld(t *testing.T, partitions int) *world {
	t.Helper()
	server, _ := backbonetest.OpenDir(t, t.TempDir())
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w := &world{t: t, db: db, partitions: partitions, sent: map[chat.ConversationID]uint64{}}
	w.b.Backbone = server.(interface {
		backbone.Backbone
		backbone.Keeper
	})
	for i := range 12 {
		w.conns = append(w.conns, chat.ConversationID(fmt.Sprintf("g~%d", i)))
	}
	return w
}

func (w *world) streams() (out []backbone.Log) {
	w.t.Helper()
	for p := range w.partitions {
		l, err := w.b.Backbone.Log(w.t.Context(), p)
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

// talk runs the appender, sends one message to each conversation, and fails unless it follows the one before.
func (w *world) talk(rounds int) {
	w.t.Helper()
	l := convlog.New(convlog.Defaults(w.partitions), w.streams(), stored.Of(w.db.Log()), slog.New(slog.DiscardHandler), func(string) {})
	ctx, cancel := context.WithCancel(w.t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- l.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		w.t.Fatalf("the log does not start: %v", err)
	}
	for range rounds {
		for _, c := range w.conns {
			seq := w.sent[c] + 1
			res, err := l.Append(ctx, convlog.Draft{Permit: convlog.Any, Entry: &messagev1.Entry{
				ConversationId: string(c), SenderId: "ann", ClientMsgId: fmt.Sprint("m", seq), Kind: messagev1.EntryKind_ENTRY_KIND_TEXT,
				Body: &messagev1.Entry_Text{Text: &messagev1.Text{Text: "x"}},
			}})
			if err != nil || res.Seq != seq {
				w.t.Fatalf("%s: seq %d, %v; want %d", c, res.Seq, err, seq)
			}
			w.sent[c] = seq
		}
	}
	cancel()
	if err := <-ended; err != nil {
		w.t.Fatal(err)
	}
}

// store runs the writer and the other reader until all is stored and read.
func (w *world) store() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	streams := w.streams()
	svc := persistence.New(persistence.Config{BatchRuns: 4, Heads: 100, PurgeEvery: time.Hour}, persistence.Retention{}, streams,
		w.db.Log(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	var all sync.WaitGroup
	all.Go(func() { _ = svc.Run(ctx, func() {}) })
	for _, l := range streams {
		all.Go(func() {
			_ = l.Follow(ctx, backbone.Reader{Name: handedOn, Handle: func(context.Context, []backbone.Message) error { return nil }})
		})
	}
	for p, l := range streams {
		w.eventually(func() bool {
			info, err := l.Info(ctx)
			floor, err2 := l.Floor(ctx, handedOn)
			mark, err3 := w.db.Log().Mark(ctx, p)
			return errors.Join(err, err2, err3) == nil && (info.First > info.Last || floor >= info.Last) && mark.Position >= info.Last
		})
	}
	cancel()
	all.Wait()
}

func (w *world) eventually(cond func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); {
		if time.Now().After(end) {
			w.t.Fatal("not stored and read in time")
		}
		<-time.After(5 * time.Millisecond)
	}
}

// recover runs the command and returns its exit code and all that it says. log may stand in for the database's.
func (w *world) recover(log store.Log, args ...string) (int, string) {
	w.t.Helper()
	var out bytes.Buffer
	code := recovery.Command(func(ctx context.Context, _ recovery.Place, _ bool, _ *slog.Logger, use func(context.Context, recovery.Data) error) error {
		return use(ctx, recovery.Data{
			Backbone: w.b.Backbone, Log: log, Partitions: w.partitions, Readers: []string{handedOn},
			Note: func(n int) error { w.noted = n; return nil },
		})
	})(w.t.Context(), command.Call{Args: args, Out: &out, Err: &out})
	return code, out.String()
}

func (w *world) want(want int, words string, args ...string) {
	w.t.Helper()
	if code, out := w.recover(w.db.Log(), args...); code != want || !strings.Contains(out, words) {
		w.t.Fatalf("recover %v = %d:\n%s\nwant %d, and %q in it", args, code, out, want, words)
	}
}

func (w *world) epoch() uint64 {
	w.t.Helper()
	e, err := w.db.Log().Epoch(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// raised fails unless the epoch is above another one, and returns it.
func (w *world) raised(before uint64) uint64 {
	w.t.Helper()
	e := w.epoch()
	if e <= before {
		w.t.Errorf("epoch = %d; want it above %d", e, before)
	}
	return e
}

// complete fails unless every number up to the newest is stored; hidden counts those without a body.
func (w *world) complete(hidden int) {
	w.t.Helper()
	for _, c := range w.conns {
		entries, err := w.db.Reader().Range(w.t.Context(), c, 1, 1<<40, 1<<20, false)
		if err != nil || uint64(len(entries)) != w.sent[c] {
			w.t.Errorf("%s has %d entries, %v; want %d", c, len(entries), err, w.sent[c])
		}
		for i, e := range entries {
			if e.Seq != uint64(i)+1 {
				w.t.Errorf("%s: entry %d has seq %d", c, i+1, e.Seq)
			}
			if e.Kind == int32(messagev1.EntryKind_ENTRY_KIND_HIDDEN) {
				hidden--
			}
		}
	}
	if hidden != 0 {
		w.t.Errorf("%d entries without a body too few (or, below 0, too many)", hidden)
	}
}

func TestNothingToDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.want(command.OK, "nothing to do")
	w.talk(2)
	w.want(command.OK, "0 of", "--apply")
	w.store()
	w.want(command.OK, "nothing to do", "--apply")
	if e := w.epoch(); e != 1 {
		t.Errorf("epoch = %d; want 1", e)
	}
}

// The broker is lost: numbers go on, in a new epoch, and positions too.
func TestLostLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.talk(3)
	w.store()
	before := w.marks()
	for p := range 2 {
		if err := w.b.Backbone.Drop(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	w.want(command.Failed, "the log is lost")
	w.want(command.OK, "done; the epoch is", "--apply")
	epoch := w.raised(1)
	w.want(command.OK, "nothing to do")
	w.talk(2)
	w.store()
	w.complete(0)
	for p, m := range w.marks() {
		if m.Position <= before[p].Position {
			t.Errorf("partition %d is at %d; want it behind %d", p, m.Position, before[p].Position)
		}
	}
	if e := w.epoch(); e != epoch {
		t.Errorf("epoch = %d; want %d", e, epoch)
	}
}

func (w *world) marks() (out []store.Mark) {
	w.t.Helper()
	for p := range w.partitions {
		m, err := w.db.Log().Mark(w.t.Context(), p)
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// An older copy of the log was put back: it holds nothing that is not stored.
func TestLogSetBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.talk(2)
	w.store()
	m := w.marks()[0]
	if err := w.db.Log().MoveMark(t.Context(), 0, m, store.Mark{Incarnation: m.Incarnation, Position: m.Position + 5}, false); err != nil {
		t.Fatal(err)
	}
	w.want(command.Failed, "was set back")
	w.want(command.OK, "done; the epoch is", "--apply")
	w.talk(1)
	w.store()
	w.complete(0)
}

func TestPartitions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.talk(3)
	w.want(command.Failed, "from 2 to 5", "--partitions", "5")
	w.want(command.Failed, "do persistence and orchestrator run?", "--partitions", "5", "--apply", "--wait", "1ms")
	epoch := w.epoch()
	for _, n := range []int{5, 1, 4} {
		w.store()
		highest := slices.MaxFunc(w.marks(), func(a, b store.Mark) int { return int(a.Position) - int(b.Position) })
		w.want(command.OK, fmt.Sprint("set log.partitions to ", n), "--partitions", fmt.Sprint(n), "--apply")
		w.partitions = n
		epoch = w.raised(epoch)
		w.want(command.OK, "nothing to do")
		if w.noted != n {
			t.Errorf("noted %d partitions; want %d", w.noted, n)
		}
		logs, err := w.b.Backbone.Logs(t.Context())
		if err != nil || len(logs) != n {
			t.Errorf("Logs = %v, %v; want %d", logs, err, n)
		}
		for p, m := range w.marks() {
			if m.Position < highest.Position {
				t.Errorf("partition %d is at %d; want at least %d", p, m.Position, highest.Position)
			}
		}
		w.talk(2)
	}
	w.store()
	w.complete(0)
	if e := w.epoch(); e != epoch {
		t.Errorf("epoch = %d; want %d", e, epoch)
	}
}

var errCut = errors.New("cut")

// cutting fails from some call on, before or after it took effect.
type cutting struct {
	backbone.Backbone
	backbone.Keeper
	left  *int
	after bool
}

func (c cutting) cut(do func() error) error {
	*c.left--
	if *c.left > 0 || *c.left == 0 && c.after {
		if err := do(); err != nil {
			return err
		}
	}
	if *c.left <= 0 {
		return errCut
	}
	return nil
}

func (c cutting) Declare(ctx context.Context, p, of int) error {
	return c.cut(func() error { return c.Keeper.Declare(ctx, p, of) })
}

func (c cutting) Log(ctx context.Context, p int) (backbone.Log, error) {
	l, err := c.Backbone.Log(ctx, p)
	return purging{l, c}, err
}

func (c cutting) Drop(ctx context.Context, p int) error {
	return c.cut(func() error { return c.Keeper.Drop(ctx, p) })
}

// purging is a log's side of cutting.
type purging struct {
	backbone.Log
	c cutting
}

func (p purging) Purge(ctx context.Context, upTo uint64) error {
	return p.c.cut(func() error { return p.Log.Purge(ctx, upTo) })
}

// marking is the database's side of cutting.
type marking struct {
	store.Log
	c cutting
}

func (m marking) MoveMark(ctx context.Context, p int, from, to store.Mark, raise bool) error {
	return m.c.cut(func() error { return m.Log.MoveMark(ctx, p, from, to, raise) })
}

// It is ended before and after each of its steps in turn, and run again.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, change := range [][2]int{{2, 3}, {3, 1}} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d to %d, after %t", change[0], change[1], after), func(t *testing.T) {
				t.Parallel()
				step := 1
				for interrupted(t, change[0], change[1], step, after) {
					step++
				}
				if step < 5 {
					t.Errorf("it has only %d steps", step-1)
				}
			})
		}
	}
}

// The log is lost, and making a new one is ended before and after each of its steps in turn: a start goes on, and the command does.
func TestInterruptedAdvance(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		for _, after := range []bool{false, true} {
			for step := 1; ; step++ {
				w := newWorld(t, 1)
				w.talk(2)
				w.store()
				if err := w.b.Backbone.Drop(t.Context(), 0); err != nil {
					t.Fatal(err)
				}
				whole, left := w.b.Backbone, step
				c := cutting{Backbone: whole, Keeper: whole, left: &left, after: after}
				w.b.Backbone = c
				code, out := w.recover(marking{w.db.Log(), c}, "--apply")
				w.b.Backbone = whole
				if code == command.OK {
					if step < 4 {
						t.Errorf("it has only %d steps", step-1)
					}
					break
				}
				if !strings.Contains(out, errCut.Error()) {
					t.Fatalf("step %d: %s; want it cut", step, out)
				}
				if again {
					w.want(command.OK, "partition 0", "--apply")
				}
				w.talk(1)
				w.raised(1)
				w.store()
				w.complete(0)
				if t.Failed() {
					t.Fatalf("again %t, cut at step %d, after %t", again, step, after)
				}
			}
		}
	}
}

// interrupted cuts a change at a step, and reports whether there is such a step.
func interrupted(t *testing.T, from, to, step int, after bool) bool {
	w := newWorld(t, from)
	w.talk(2)
	w.store()
	whole, left := w.b.Backbone, step
	c := cutting{Backbone: whole, Keeper: whole, left: &left, after: after}
	w.b.Backbone = c
	args := []string{"--partitions", fmt.Sprint(to), "--apply"}
	code, out := w.recover(marking{w.db.Log(), c}, args...)
	w.b.Backbone = whole
	if code == command.OK {
		return false
	}
	if !strings.Contains(out, errCut.Error()) {
		t.Fatalf("step %d: %s; want it cut", step, out)
	}
	w.want(command.OK, "set log.partitions", args...)
	w.partitions = to
	w.want(command.OK, "nothing to do")
	w.talk(1)
	w.store()
	w.complete(0)
	if t.Failed() {
		t.Fatalf("cut at step %d", step)
	}
	return true
}

func TestUsage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	for _, args := range [][]string{{"--partitions", "257"}, {"--partitions", "-1"}, {"--cluster", "--data-dir", "x"}, {"--nonsense"}} {
		w.want(command.Usage, "--help", args...)
	}
	w.want(command.OK, "Usage: oceanchat recover", "--help")
}
