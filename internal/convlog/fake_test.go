package convlog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// stream is a backbone.Log in memory with scripted faults. before runs ahead of an append and may refuse it; after
// runs behind a committed one and may lose its acknowledgement.
type stream struct {
	backbone.Log // nil, or where the messages are instead

	mu          sync.Mutex
	incarnation string
	msgs        []backbone.Message // msgs[i].Seq == i+1; over a Log only what was purged of it
	purged      uint64
	appends     int
	before      func(n int, data []byte) error
	after       func(n int, data []byte) error
	infoErr     error
	gets        int
	clock       time.Duration // how far the server's clock is ahead of ours
}

var _ backbone.Log = (*stream)(nil)

func newStream(incarnation string) *stream { return &stream{incarnation: incarnation} }

// streams makes an empty stream; attacks run over several of them.
type streams func(t *testing.T, incarnation string) *stream

func inMemory(_ *testing.T, incarnation string) *stream { return newStream(incarnation) }

func (s *stream) Append(_ context.Context, data []byte, expect uint64) (uint64, error) {
	s.mu.Lock()
	s.appends++
	n, before, after := s.appends, s.before, s.after
	s.mu.Unlock()
	if before != nil {
		if err := before(n, data); err != nil {
			return 0, err
		}
	}
	seq, err := s.store(data, expect)
	if err == nil && after != nil {
		if err := after(n, data); err != nil {
			return 0, err
		}
	}
	return seq, err
}

func (s *stream) store(data []byte, expect uint64) (uint64, error) {
	if s.Log != nil {
		return s.Log.Append(context.Background(), data, expect)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if uint64(len(s.msgs)) != expect {
		return 0, backbone.ErrConflict
	}
	s.msgs = append(s.msgs, backbone.Message{Seq: expect + 1, Time: time.Now().Add(s.clock), Data: append([]byte(nil), data...)})
	return expect + 1, nil
}

func (s *stream) Info(ctx context.Context) (backbone.LogInfo, error) {
	if s.Log != nil {
		return s.Log.Info(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return backbone.LogInfo{Incarnation: s.incarnation, First: s.purged + 1, Last: uint64(len(s.msgs))}, s.infoErr
}

func (s *stream) Confirm(ctx context.Context) error {
	if s.Log != nil {
		return s.Log.Confirm(ctx)
	}
	return nil
}

func (s *stream) Get(ctx context.Context, seq uint64) (backbone.Message, error) {
	if s.Log != nil {
		return s.Log.Get(ctx, seq)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	if seq <= s.purged || seq > uint64(len(s.msgs)) {
		return backbone.Message{}, backbone.ErrNotFound
	}
	return s.msgs[seq-1], nil
}

func (s *stream) Read(ctx context.Context, from, to uint64, fn func(backbone.Message) error) error {
	if s.Log != nil {
		return s.Log.Read(ctx, from, to, fn)
	}
	for seq := from; seq <= to; seq++ {
		m, err := s.Get(ctx, seq)
		if err != nil {
			continue
		}
		if err := fn(m); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) SeqAt(ctx context.Context, t time.Time) (uint64, error) {
	if s.Log != nil {
		return s.Log.SeqAt(ctx, t)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.msgs {
		if m.Seq > s.purged && !m.Time.Before(t) {
			return m.Seq, nil
		}
	}
	return uint64(len(s.msgs)) + 1, nil
}

// purge plays the writer's retention.
func (s *stream) purge(upTo uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Log != nil {
		keep := func(m backbone.Message) error { s.msgs = append(s.msgs, m); return nil }
		if err := errors.Join(s.Log.Read(context.Background(), s.purged+1, upTo, keep), s.Log.Purge(context.Background(), upTo)); err != nil {
			panic(err)
		}
	}
	s.purged = max(s.purged, upTo)
}

// getCount returns how many single reads there were.
func (s *stream) getCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets
}

// end returns the last position.
func (s *stream) end() uint64 {
	i, err := s.Info(context.Background())
	if err != nil {
		panic(err)
	}
	return i.Last
}

// all returns what is in the stream, and what was purged.
func (s *stream) all(t *testing.T) []backbone.Message {
	t.Helper()
	s.mu.Lock()
	out := slices.Clone(s.msgs)
	s.mu.Unlock()
	if s.Log == nil {
		return out
	}
	if err := s.Read(context.Background(), 1, s.end(), func(m backbone.Message) error { out = append(out, m); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// view is a stream as one appender sees it: what info returns stands for the n-th answer of Info.
type view struct {
	backbone.Log
	info func(n int, i backbone.LogInfo) (backbone.LogInfo, error)

	mu    sync.Mutex // guards calls
	calls int
}

func (v *view) Info(ctx context.Context) (backbone.LogInfo, error) {
	i, err := v.Log.Info(ctx)
	if err != nil {
		return i, err
	}
	v.mu.Lock()
	v.calls++
	n := v.calls
	v.mu.Unlock()
	return v.info(n, i)
}

// script sets the faults.
func (s *stream) script(before, after func(n int, data []byte) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = before, after
}

// entries returns every entry in the stream, in order.
func (s *stream) entries(t *testing.T) []*messagev1.Entry {
	t.Helper()
	var out []*messagev1.Entry
	for _, m := range s.all(t) {
		_, es, err := convlog.DecodeBatch(m.Data)
		if err != nil {
			t.Fatalf("position %d: %v", m.Seq, err)
		}
		for _, e := range es {
			out = append(out, e.GetEntry())
		}
	}
	return out
}

// database is what the log reads: heads and entries that a writer stored. down makes every question fail; onHead and
// onMark run when an answer is known and not yet given.
type database struct {
	mu    sync.Mutex
	mark  convlog.Mark
	epoch uint64
	heads map[chat.ConversationID]convlog.Head
	found map[string]*flowv1.LogEntry
	asked int
	marks int
	busy  int // questions under way
	down  error

	onHead func(ctx context.Context, c chat.ConversationID)
	onMark func(ctx context.Context)
}

var _ convlog.Stored = (*database)(nil)

func newDatabase() *database {
	return &database{epoch: 1, heads: map[chat.ConversationID]convlog.Head{}, found: map[string]*flowv1.LogEntry{}}
}

func (d *database) Head(ctx context.Context, c chat.ConversationID) (convlog.Head, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	h, err, on := d.heads[c], d.down, d.onHead
	if on != nil {
		d.unlocked(func() { on(ctx, c) })
		err = errors.Join(err, ctx.Err())
	}
	return h, err
}

// unlocked runs fn as a question under way.
func (d *database) unlocked(fn func()) {
	d.busy++
	d.mu.Unlock()
	fn()
	d.mu.Lock()
	d.busy--
}

// on sets what runs before an answer is given.
func (d *database) on(head func(context.Context, chat.ConversationID), mark func(context.Context)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onHead, d.onMark = head, mark
}

// marksRead waits until whoever reads the mark has taken in what it is now.
func (d *database) marksRead(t *testing.T) {
	t.Helper()
	count := func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.marks
	}
	from := count()
	eventually(t, "the mark is read", func() bool { return count() >= from+3 })
}

func (d *database) Find(_ context.Context, u chat.UserID, c chat.ConversationID, id string) (*flowv1.LogEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found[fmt.Sprint(u, "|", c, "|", id)], d.down
}

func (d *database) Mark(ctx context.Context, _ int) (convlog.Mark, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.marks++
	m, err, on := d.mark, d.down, d.onMark
	if on != nil {
		d.unlocked(func() { on(ctx) })
		err = errors.Join(err, ctx.Err())
	}
	return m, err
}

func (d *database) MoveMark(_ context.Context, _ int, from, to convlog.Mark, raise bool) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mark != from {
		return false, nil
	}
	d.mark = to
	if raise {
		d.epoch++
	}
	return true, nil
}

func (d *database) Epoch(context.Context) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.epoch, d.down
}

// store plays the writer: it stores what the stream holds up to a position.
func (d *database) store(t *testing.T, s *stream, upTo uint64) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range s.all(t) {
		if m.Seq <= d.mark.Position || m.Seq > upTo {
			continue
		}
		_, es, err := convlog.DecodeBatch(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, le := range es {
			e := le.GetEntry()
			c := chat.ConversationID(e.GetConversationId())
			h := d.heads[c]
			if e.GetSeq() != h.Seq+1 {
				t.Fatalf("the log gives %s seq %d behind %d", c, e.GetSeq(), h.Seq)
			}
			h.Seq, h.Ordinal, h.Position, h.SentAt = e.GetSeq(), e.GetOrdinal(), m.Seq, e.GetSentAt().AsTime().UnixMilli()
			if e.GetKind() == messagev1.EntryKind_ENTRY_KIND_NOTICE {
				h.NoticeSeq = h.Seq
			}
			d.heads[c] = h
			d.found[fmt.Sprint(e.GetSenderId(), "|", c, "|", e.GetClientMsgId())] = le
		}
	}
	d.mark = convlog.Mark{Incarnation: s.incarnation, Position: upTo}
}

// open runs a log over one stream until the test ends or stop is called.
func open(t testing.TB, s backbone.Log, d convlog.Stored, change func(*convlog.Config)) (l *convlog.Log, stop func()) {
	t.Helper()
	r := start(t, s, d, change)
	stop = sync.OnceFunc(func() {
		if err := r.stop(); err != nil {
			t.Errorf("Run = %v; want nil", err)
		}
	})
	t.Cleanup(stop)
	return r.Log, stop
}

// running is a log that may end by itself.
type running struct {
	*convlog.Log
	over chan struct{} // closed when Run has returned
	stop func() error  // ends it and returns what Run returned
}

// start is open for a log that may end by itself.
func start(t testing.TB, s backbone.Log, d convlog.Stored, change func(*convlog.Config)) running {
	t.Helper()
	cfg := convlog.Defaults(1)
	cfg.PublishTimeout, cfg.MarkEvery, cfg.LookEvery = time.Second, time.Millisecond, time.Hour
	if change != nil {
		change(&cfg)
	}
	r := running{Log: convlog.New(cfg, []backbone.Log{s}, d, discard(), func(string) {}), over: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan struct{})
	var err error
	go func() {
		defer close(r.over)
		err = r.Run(ctx, func() { close(ready) })
	}()
	r.stop = func() error {
		cancel()
		<-r.over
		return err
	}
	t.Cleanup(func() { _ = r.stop() })
	select {
	case <-ready:
	case <-r.over:
		t.Fatalf("Run = %v before it was ready", err)
	}
	return r
}

// seldom keeps a log from reading the writer's mark.
func seldom(c *convlog.Config) { c.MarkEvery = time.Hour }
