package convlog_test

import (
	"context"
	"fmt"
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
	backbone.Log // what the log does not use panics

	mu          sync.Mutex
	incarnation string
	msgs        []backbone.Message // msgs[i].Seq == i+1; purged ones have no data
	purged      uint64
	appends     int
	before      func(n int, data []byte) error
	after       func(n int, data []byte) error
	infoErr     error
}

var _ backbone.Log = (*stream)(nil)

func newStream(incarnation string) *stream { return &stream{incarnation: incarnation} }

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
	s.mu.Lock()
	defer s.mu.Unlock()
	if uint64(len(s.msgs)) != expect {
		return 0, backbone.ErrConflict
	}
	s.msgs = append(s.msgs, backbone.Message{Seq: expect + 1, Time: time.Now(), Data: append([]byte(nil), data...)})
	return expect + 1, nil
}

func (s *stream) Info(context.Context) (backbone.LogInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return backbone.LogInfo{Incarnation: s.incarnation, First: s.purged + 1, Last: uint64(len(s.msgs))}, s.infoErr
}

func (s *stream) Get(_ context.Context, seq uint64) (backbone.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq <= s.purged || seq > uint64(len(s.msgs)) {
		return backbone.Message{}, backbone.ErrNotFound
	}
	return s.msgs[seq-1], nil
}

func (s *stream) Read(ctx context.Context, from, to uint64, fn func(backbone.Message) error) error {
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

func (s *stream) SeqAt(_ context.Context, t time.Time) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.msgs {
		if m.Seq > s.purged && !m.Time.Before(t) {
			return m.Seq, nil
		}
	}
	return uint64(len(s.msgs)) + 1, nil
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
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*messagev1.Entry
	for _, m := range s.msgs {
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

// database is what the log reads: heads and entries that a writer stored. down makes every question fail.
type database struct {
	mu    sync.Mutex
	mark  convlog.Mark
	epoch uint64
	heads map[chat.ConversationID]convlog.Head
	found map[string]*flowv1.LogEntry
	asked int
	down  error
}

var _ convlog.Stored = (*database)(nil)

func newDatabase() *database {
	return &database{epoch: 1, heads: map[chat.ConversationID]convlog.Head{}, found: map[string]*flowv1.LogEntry{}}
}

func (d *database) Head(_ context.Context, c chat.ConversationID) (convlog.Head, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	return d.heads[c], d.down
}

func (d *database) Find(_ context.Context, u chat.UserID, c chat.ConversationID, id string) (*flowv1.LogEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found[fmt.Sprint(u, "|", c, "|", id)], d.down
}

func (d *database) Mark(context.Context, int) (convlog.Mark, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mark, d.down
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
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.msgs {
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
func open(t *testing.T, s backbone.Log, d *database, change func(*convlog.Config)) (l *convlog.Log, stop func()) {
	t.Helper()
	cfg := convlog.Defaults(1)
	cfg.PublishTimeout, cfg.MarkEvery = time.Second, time.Millisecond
	if change != nil {
		change(&cfg)
	}
	l = convlog.New(cfg, []backbone.Log{s}, d, discard(), func(string) {})
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- l.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("Run = %v before it was ready", err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v; want nil", err)
		}
	})
	t.Cleanup(stop)
	return l, stop
}
