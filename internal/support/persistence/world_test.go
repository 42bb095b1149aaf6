package persistence_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
	"github.com/oceanchat/oceanchat/internal/support/persistence"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	team   = chat.ConversationID("g~team")
	direct = chat.ConversationID("d~ann~bob")
)

func openDB(t *testing.T) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "test.db"))
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

// adopt sets a partition's mark to the beginning of a stream, as message does at its first start.
func adopt(t *testing.T, db store.Log, partition int, s backbone.Log) {
	t.Helper()
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := db.MoveMark(t.Context(), partition, store.Mark{}, store.Mark{Incarnation: info.Incarnation}, false); err != nil {
		t.Fatal(err)
	}
}

func text(c chat.ConversationID, seq uint64, sender string, mentions ...string) *flowv1.LogEntry {
	body := &messagev1.Text{Text: fmt.Sprint("text ", seq)}
	for _, u := range mentions {
		body.Mentions = append(body.Mentions, &messagev1.Mention{UserId: u, Length: 1})
	}
	return &flowv1.LogEntry{BodyHash: seq, Entry: &messagev1.Entry{
		ConversationId: string(c), Seq: seq, Ordinal: seq, SenderId: sender, ClientMsgId: fmt.Sprint("m", seq),
		MessageId: string(chat.NewMessageID(seq, seq)), SentAt: timestamppb.New(time.UnixMilli(1e12 + int64(seq))),
		Kind: messagev1.EntryKind_ENTRY_KIND_TEXT, Body: &messagev1.Entry_Text{Text: body},
	}}
}

func notice(c chat.ConversationID, seq uint64, sender string) *flowv1.LogEntry {
	le := text(c, seq, sender)
	le.Entry.Kind = messagev1.EntryKind_ENTRY_KIND_NOTICE
	le.Entry.Body = &messagev1.Entry_Notice{Notice: &messagev1.Notice{Type: messagev1.NoticeType_NOTICE_TYPE_MEMBER_JOINED}}
	return le
}

func encode(t *testing.T, entries ...*flowv1.LogEntry) []byte {
	t.Helper()
	data, err := convlog.EncodeBatch(convlog.BatchID{1}, entries)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// batches returns n messages of the log with one to three entries each, of three conversations in turn, and how long
// each conversation is then.
func batches(t *testing.T, n int) (data [][]byte, ends map[chat.ConversationID]uint64) {
	t.Helper()
	ends = map[chat.ConversationID]uint64{}
	names := []chat.ConversationID{team, direct, "i~ann"}
	for i := range n {
		var entries []*flowv1.LogEntry
		for k := range 1 + i%3 {
			c := names[(i*i+k)%3]
			ends[c]++
			entries = append(entries, text(c, ends[c], "bob"))
		}
		data = append(data, encode(t, entries...))
	}
	return data, ends
}

// wantStored fails unless the database has exactly the entries 1 to end of each conversation, as they were in the log,
// and heads that say so.
func wantStored(t *testing.T, db *sqlite.DB, ends map[chat.ConversationID]uint64) {
	t.Helper()
	ctx := context.Background()
	for c, end := range ends {
		entries, err := db.Reader().Range(ctx, c, 1, 1<<40, 1<<20, false)
		if err != nil {
			t.Fatal(err)
		}
		if uint64(len(entries)) != end {
			t.Errorf("%s has %d entries; want %d", c, len(entries), end)
		}
		for i, e := range entries {
			var le flowv1.LogEntry
			err := proto.Unmarshal(e.Data, &le)
			if want := uint64(i) + 1; err != nil || e.Seq != want || le.GetEntry().GetSeq() != want || le.GetBodyHash() != want {
				t.Errorf("%s: entry %d is seq %d, in its data %d, %v", c, want, e.Seq, le.GetEntry().GetSeq(), err)
			}
		}
		heads, err := db.Log().Heads(ctx, []chat.ConversationID{c})
		if err != nil || end > 0 && (len(heads) != 1 || heads[0].Seq != end) {
			t.Errorf("Heads(%s) = %+v, %v; want seq %d", c, heads, err, end)
		}
	}
}

func position(t *testing.T, db store.Log, partition int) uint64 {
	t.Helper()
	m, err := db.Mark(context.Background(), partition)
	if err != nil {
		t.Fatal(err)
	}
	return m.Position
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			t.Fatalf("still not: %s", what)
		case <-tick.C:
		}
	}
}

// config stores and purges without delay.
func config() persistence.Config {
	return persistence.Config{BatchRuns: 4, Heads: 100, PurgeEvery: time.Millisecond}
}

// service is a running writer.
type service struct {
	t    *testing.T
	reg  *prometheus.Registry
	stop func()
}

func run(t *testing.T, cfg persistence.Config, keep persistence.Retention, db store.Log, streams ...backbone.Log) *service {
	t.Helper()
	s := &service{t: t, reg: prometheus.NewRegistry()}
	svc := persistence.New(cfg, keep, streams, db, slog.New(slog.DiscardHandler), s.reg)
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- svc.Run(ctx, func() { close(ready) }) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v; want nil", err)
		}
	})
	t.Cleanup(s.stop)
	<-ready
	return s
}

// metric returns the value of a counter or gauge.
func (s *service) metric(name string) float64 {
	s.t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "oceanchat_persistence_"+name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	s.t.Fatalf("there is no metric %s", name)
	return 0
}

// database is a store.Log that fails as the test says and remembers what it was given.
type database struct {
	store.Log

	mu     sync.Mutex
	fail   func(call int) (before, after error) // of Store
	calls  int
	times  map[string]int // an entry was offered in a batch that was stored
	raw    map[uint64]string
	failed error // of everything
}

func newDatabase(db store.Log) *database {
	return &database{Log: db, times: map[string]int{}, raw: map[uint64]string{}}
}

func (d *database) Store(ctx context.Context, b store.Batch) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	var before, after error
	if d.fail != nil {
		before, after = d.fail(d.calls)
	}
	if err := errors.Join(before, d.failed); err != nil {
		return err
	}
	if err := d.Log.Store(ctx, b); err != nil {
		return err
	}
	for _, e := range b.Entries {
		d.times[fmt.Sprint(e.ConversationID, " ", e.Seq)]++
	}
	for _, r := range b.Raw {
		d.raw[r.Position] = string(r.Data)
	}
	return after
}

func (d *database) Heads(ctx context.Context, ids []chat.ConversationID) ([]store.Head, error) {
	if err := d.down(); err != nil {
		return nil, err
	}
	return d.Log.Heads(ctx, ids)
}

func (d *database) Mark(ctx context.Context, p int) (store.Mark, error) {
	if err := d.down(); err != nil {
		return store.Mark{}, err
	}
	return d.Log.Mark(ctx, p)
}

func (d *database) down() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

func (d *database) setDown(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = err
}

func (d *database) rawMessages() map[uint64]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.raw)
}

// wantOnce fails if an entry was stored by two batches: not harmful, but it says that a position was lost.
func (d *database) wantOnce(t *testing.T) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for e, n := range d.times {
		if n != 1 {
			t.Errorf("%s was stored %d times", e, n)
		}
	}
}

// driven is a Log whose reader the test drives itself, as a redelivering server would.
type driven struct {
	backbone.Log
	reader chan backbone.Reader
}

func drive(t *testing.T, l backbone.Log, db store.Log) (backbone.Reader, *service) {
	t.Helper()
	d := &driven{l, make(chan backbone.Reader, 1)}
	s := run(t, config(), persistence.Retention{}, db, d)
	return <-d.reader, s
}

func (d *driven) Follow(ctx context.Context, r backbone.Reader) error {
	d.reader <- r
	<-ctx.Done()
	return nil
}
