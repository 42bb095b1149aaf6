package persistence

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// writer stores one partition. Only its reader's goroutine uses it.
type writer struct {
	*Service
	partition int
	mark      store.Mark
	heads     map[chat.ConversationID]store.Head // as stored
	holes     map[chat.ConversationID]bool       // conversations that are not stored any more
	hole      uint64                             // position of the first hole; the mark stays below it
	last      time.Time                          // when the last batch was stored
	messages  []string                           // ids of those in the batch in the making
}

func newWriter(s *Service, partition int) *writer {
	return &writer{
		Service: s, partition: partition,
		heads: map[chat.ConversationID]store.Head{}, holes: map[chat.ConversationID]bool{},
	}
}

func (w *writer) reader() backbone.Reader {
	return backbone.Reader{
		Name: Reader, MaxBatch: w.cfg.BatchRuns,
		Start: w.start, Handle: w.handle,
		Failed: func(err error, try int) {
			w.m.failures.Inc()
			w.log.Warn("storing failed, it is tried again", obs.Partition, w.partition, "try", try, obs.Err, err)
		},
	}
}

// start returns the stored mark. The log's own reconciliation has set it to this incarnation before anything was
// appended; what memory holds is forgotten, as another writer may have been at work.
func (w *writer) start(ctx context.Context) (uint64, error) {
	info, err := w.streams[w.partition].Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask for the stream's state: %w", err)
	}
	mark, err := w.db.Mark(ctx, w.partition)
	if err != nil {
		return 0, fmt.Errorf("read the mark: %w", err)
	}
	if mark.Incarnation != info.Incarnation || mark.Position > info.Last {
		return 0, fmt.Errorf("the mark %+v is not of this log (%s, last %d): waiting for message to reconcile them",
			mark, info.Incarnation, info.Last)
	}
	if n := convlog.Missing(convlog.Mark(mark), info); n > 0 { // a mark behind them would hide it
		return 0, fmt.Errorf("%d batches of the log were purged behind the mark %+v: message refuses to start, see 'oceanchat recover'", n, mark)
	}
	w.mark, w.hole = mark, 0
	clear(w.heads)
	clear(w.holes)
	return mark.Position, nil
}

// handle stores a run. nil means that all of it is in the database.
func (w *writer) handle(ctx context.Context, run []backbone.Message) error {
	if err := w.linger(ctx); err != nil {
		return err
	}
	for len(run) > 0 && run[0].Seq <= w.mark.Position {
		run = run[1:]
	}
	if len(run) == 0 {
		return nil
	}
	b, err := w.batch(ctx, run)
	if err != nil {
		return err
	}
	began := time.Now()
	err = w.db.Store(ctx, b)
	w.m.store.Observe(time.Since(began).Seconds())
	if errors.Is(err, store.ErrConflict) {
		return w.moved(ctx)
	}
	if err != nil {
		return fmt.Errorf("store positions %d to %d: %w", run[0].Seq, run[len(run)-1].Seq, err)
	}
	w.mark = b.To
	for _, h := range b.Heads {
		w.heads[h.ConversationID] = h
	}
	w.count(b, run)
	w.tell(ctx, began)
	return nil
}

// linger lets a batch gather: at low rates one commit serves what arrives within Linger.
func (w *writer) linger(ctx context.Context) error {
	wait := w.cfg.Linger - time.Since(w.last)
	if wait > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
	w.last = time.Now()
	return nil
}

// moved learns where another writer has moved the mark to; the run is then offered again.
func (w *writer) moved(ctx context.Context) error {
	mark, err := w.db.Mark(ctx, w.partition)
	if err != nil {
		return fmt.Errorf("read the mark after a conflict: %w", err)
	}
	if mark.Incarnation != w.mark.Incarnation {
		return fmt.Errorf("the mark is of another log now: %+v", mark)
	}
	clear(w.heads)
	w.mark = mark
	return fmt.Errorf("another writer moved the mark to %d", mark.Position)
}

func (w *writer) count(b store.Batch, run []backbone.Message) {
	w.m.stored.Add(float64(len(b.Entries)))
	w.m.raw.Add(float64(len(b.Raw)))
	w.m.batch.Observe(float64(len(b.Entries)))
	w.m.lag.Observe(time.Since(run[0].Time).Seconds())
}

// batch turns a run into what is stored at once. Behind a hole it goes on with the other conversations, but the mark
// stays: what is not stored is above the mark, so message still finds it in the log's tail, heads do not fall back
// to what is stored, and the next start meets the hole again.
func (w *writer) batch(ctx context.Context, run []backbone.Message) (store.Batch, error) {
	w.messages = w.messages[:0]
	b := &builder{
		writer: w, heads: map[chat.ConversationID]store.Head{}, read: map[reader]store.CursorOf{},
		Batch: store.Batch{Partition: w.partition, From: w.mark, To: w.mark},
	}
	decoded := make([][]*flowv1.LogEntry, len(run))
	for i, m := range run {
		_, entries, err := convlog.DecodeBatch(m.Data)
		if err != nil {
			w.log.ErrorContext(ctx, "a message of the log is no batch; it is stored raw", obs.Partition, w.partition, "position", m.Seq, obs.Err, err)
			b.Raw = append(b.Raw, store.Raw{Position: m.Seq, Data: m.Data})
		}
		decoded[i] = entries
	}
	if err := b.loadHeads(ctx, decoded); err != nil {
		return store.Batch{}, err
	}
	for i, entries := range decoded {
		for _, e := range entries {
			if err := b.add(ctx, e, run[i]); err != nil {
				return store.Batch{}, err
			}
		}
		if w.hole == 0 || run[i].Seq < w.hole {
			b.To.Position = run[i].Seq
		}
	}
	for _, h := range b.heads {
		b.Heads = append(b.Heads, h)
	}
	for _, c := range b.read {
		b.Read = append(b.Read, c)
	}
	return b.Batch, nil
}

type reader struct {
	user         chat.UserID
	conversation chat.ConversationID
}

// builder makes one batch.
type builder struct {
	*writer
	store.Batch
	heads map[chat.ConversationID]store.Head // changed by this batch
	read  map[reader]store.CursorOf
}

// loadHeads asks the database for the heads that memory lacks, all at once. Memory is emptied when it is full; that is
// rare, and costs one larger question.
func (b *builder) loadHeads(ctx context.Context, decoded [][]*flowv1.LogEntry) error {
	if len(b.writer.heads) > b.cfg.Heads {
		clear(b.writer.heads)
	}
	var missing []chat.ConversationID
	asked := map[chat.ConversationID]bool{}
	for _, entries := range decoded {
		for _, e := range entries {
			c := chat.ConversationID(e.GetEntry().GetConversationId())
			if _, ok := b.writer.heads[c]; !ok && !asked[c] {
				asked[c] = true
				missing = append(missing, c)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	heads, err := b.db.Heads(ctx, missing)
	if err != nil {
		return fmt.Errorf("read %d heads: %w", len(missing), err)
	}
	for _, c := range missing {
		b.writer.heads[c] = store.Head{ConversationID: c}
	}
	for _, h := range heads {
		b.writer.heads[h.ConversationID] = h
	}
	return nil
}

// add puts an entry into the batch if it follows its conversation's stored end.
func (b *builder) add(ctx context.Context, le *flowv1.LogEntry, m backbone.Message) error {
	e := le.GetEntry()
	c := chat.ConversationID(e.GetConversationId())
	h, changed := b.heads[c]
	if !changed {
		h = b.writer.heads[c]
		h.ConversationID = c
	}
	switch {
	case e.GetSeq() <= h.Seq:
		return nil // stored already
	case e.GetSeq() != h.Seq+1 || b.holes[c]:
		b.foundHole(ctx, e, h.Seq, m.Seq)
		return nil
	}
	data, err := proto.Marshal(le)
	if err != nil {
		return fmt.Errorf("encode %s seq %d: %w", c, e.GetSeq(), err)
	}
	sender, sentAt := chat.UserID(e.GetSenderId()), e.GetSentAt().AsTime()
	b.Entries = append(b.Entries, store.Entry{
		ConversationID: c, Seq: e.GetSeq(), Ordinal: e.GetOrdinal(), SenderID: sender, SentAt: sentAt,
		Kind: int32(e.GetKind()), Dedupe: convlog.Dedupe(sender, c, e.GetClientMsgId()), Data: data,
	})
	b.messages = append(b.messages, e.GetMessageId())
	h.Seq, h.Ordinal, h.SentAt, h.Position = e.GetSeq(), e.GetOrdinal(), sentAt, m.Seq
	if e.GetKind() == messagev1.EntryKind_ENTRY_KIND_NOTICE {
		h.NoticeSeq = h.Seq
	}
	b.heads[c] = h
	if convlog.MovesCursor(e) {
		b.read[reader{sender, c}] = store.CursorOf{
			ConversationID: c, UserID: sender, Cursor: store.Cursor{Seq: h.Seq, Ordinal: h.Ordinal}, ChangedAt: sentAt,
		}
	}
	b.mention(e, c)
	return nil
}

func (b *builder) mention(e *messagev1.Entry, c chat.ConversationID) {
	seen := map[string]bool{}
	for _, m := range e.GetText().GetMentions() {
		if !seen[m.GetUserId()] && m.GetUserId() != e.GetSenderId() {
			seen[m.GetUserId()] = true
			b.Mentions = append(b.Mentions, store.Mention{UserID: chat.UserID(m.GetUserId()), ConversationID: c, Seq: e.GetSeq()})
		}
	}
}

// foundHole stops a conversation's storing and all purging: its entries stay in the log until a human has looked.
func (b *builder) foundHole(ctx context.Context, e *messagev1.Entry, stored, position uint64) {
	c := chat.ConversationID(e.GetConversationId())
	b.m.gaps.Inc()
	b.halt()
	if b.hole == 0 {
		b.hole = position
	}
	if !b.holes[c] {
		b.holes[c] = true
		b.log.ErrorContext(ctx, "a conversation has a hole: it is not stored any more and nothing is purged",
			obs.ConversationID, string(c), "seq", e.GetSeq(), "stored", stored)
	}
}
