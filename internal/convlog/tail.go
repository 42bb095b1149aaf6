package convlog

import (
	"context"
	"errors"
	"fmt"
	"slices"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// TailHead is a conversation's end as the log has it, with what a user's view needs of the part that is not stored.
type TailHead struct {
	Conversation chat.ConversationID
	Head
	Own      Head     // the user's newest entry there; zero if none
	Mentions []uint64 // seqs there that mention the user, ascending
}

// Heads returns the ends of those conversations that have entries which are not stored, and with direct also u's
// direct conversations that have some. What is not in the answer is in the database.
func (l *Log) Heads(ctx context.Context, u chat.UserID, cs []chat.ConversationID, direct bool) ([]TailHead, error) {
	by := make(map[*partition][]chat.ConversationID, len(l.parts))
	for _, c := range cs {
		p := l.of(c)
		by[p] = append(by[p], c)
	}
	var out []TailHead
	for _, p := range l.parts {
		if len(by[p]) == 0 && !direct {
			continue
		}
		if _, err := p.sync(ctx); err != nil {
			return nil, err
		}
		out = append(out, p.fold.tails(u, by[p], direct)...)
	}
	return out, nil
}

func (f *fold) tails(u chat.UserID, cs []chat.ConversationID, direct bool) []TailHead {
	f.mu.RLock()
	defer f.mu.RUnlock()
	want := make(map[chat.ConversationID]bool, len(cs))
	for _, c := range cs {
		want[c] = true
	}
	if direct {
		for c := range f.directs[u] {
			want[c] = true
		}
	}
	var out []TailHead
	for c := range want {
		if h := f.heads[c]; h != nil && len(h.tail) > 0 {
			out = append(out, TailHead{Conversation: c, Head: h.Head, Own: h.own[u], Mentions: slices.Clone(h.mentions[u])})
		}
	}
	return out
}

// remembered returns what is known of an id.
func (f *fold) remembered(k idKey) (remembered, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.ids.get(k)
}

// Tail is a range of what is not stored.
type Tail struct {
	Entries []*messagev1.Entry // ascending
	Head    uint64             // the conversation's last seq; 0 if nothing of it is in the log's unstored part
	From    uint64             // from this seq on Entries' range is complete; 0 if Head is 0
}

// Tail returns the entries from and to inclusive that the database may lack, at most limit: the newest ones if newest,
// else the oldest; a limit below 1 counts as 1. Ask it before the database: what is in neither answer does not exist (L6).
func (l *Log) Tail(ctx context.Context, c chat.ConversationID, from, to uint64, limit int, newest bool) (Tail, error) {
	p := l.of(c)
	if _, err := p.sync(ctx); err != nil {
		return Tail{}, err
	}
	places, head := p.fold.placesOf(c, from, to)
	if head.Seq == 0 {
		return Tail{}, nil
	}
	t := Tail{Head: head.Seq, From: head.Seq + 1}
	w := walk{p: p, c: c, from: from, to: to, limit: max(1, limit)}
	var entries []*flowv1.LogEntry
	var err error
	if newest {
		entries, t.From, err = w.newest(ctx, places, t.From)
	} else {
		entries, t.From, err = w.oldest(ctx, places, t.From)
	}
	for _, e := range entries {
		t.Entries = append(t.Entries, e.GetEntry())
	}
	return t, err
}

// walk reads the entries of a conversation between from and to, at most limit, and no batch more than it needs. A batch
// that was purged meanwhile is stored, and so is what stands before it: the range is then complete from behind it on.
type walk struct {
	p        *partition
	c        chat.ConversationID
	from, to uint64
	limit    int
}

// newest returns the last entries of places and from which seq on they are complete; end is what follows places.
func (w *walk) newest(ctx context.Context, places []place, end uint64) ([]*flowv1.LogEntry, uint64, error) {
	var out []*flowv1.LogEntry
	for _, pl := range slices.Backward(places) {
		entries, purged, err := w.at(ctx, pl)
		if err != nil {
			return nil, 0, err
		}
		if purged {
			return out, end, nil
		}
		if out = append(entries, out...); len(out) >= w.limit {
			out = out[len(out)-w.limit:]
			return out, out[0].GetEntry().GetSeq(), nil
		}
		end = pl.firstSeq
	}
	return out, end, nil
}

// oldest is newest for the first entries.
func (w *walk) oldest(ctx context.Context, places []place, end uint64) ([]*flowv1.LogEntry, uint64, error) {
	var out []*flowv1.LogEntry
	complete := end
	for i, pl := range places {
		entries, purged, err := w.at(ctx, pl)
		if err != nil {
			return nil, 0, err
		}
		if purged { // it took with it what stood before
			out, complete = nil, end
			continue
		}
		if complete == end {
			complete = places[i].firstSeq
		}
		if out = append(out, entries...); len(out) >= w.limit {
			return out[:w.limit], complete, nil
		}
	}
	return out, complete, nil
}

// at returns the entries of one batch that are in the range.
func (w *walk) at(ctx context.Context, pl place) (out []*flowv1.LogEntry, purged bool, err error) {
	entries, err := w.p.batchAt(ctx, pl.position)
	for _, e := range entries {
		seq := e.GetEntry().GetSeq()
		if e.GetEntry().GetConversationId() == string(w.c) && w.from <= seq && seq <= w.to {
			out = append(out, e)
		}
	}
	return out, entries == nil, err
}

// placesOf returns where the unstored entries of c between from and to stand, and its head if it has any.
func (f *fold) placesOf(c chat.ConversationID, from, to uint64) ([]place, Head) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	h := f.heads[c]
	if h == nil || len(h.tail) == 0 {
		return nil, Head{}
	}
	// The batch that holds from is the last one that begins at or below it.
	i, found := slices.BinarySearchFunc(h.tail, from, func(pl place, seq uint64) int { return compare(pl.firstSeq, seq) })
	if !found && i > 0 {
		i--
	}
	j, found := slices.BinarySearchFunc(h.tail, to, func(pl place, seq uint64) int { return compare(pl.firstSeq, seq) })
	if found {
		j++
	}
	if i >= j {
		return nil, h.Head
	}
	return slices.Clone(h.tail[i:j]), h.Head
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// batchAt returns a batch from memory, or from the log; nil if it was purged.
func (p *partition) batchAt(ctx context.Context, position uint64) ([]*flowv1.LogEntry, error) {
	p.fold.mu.RLock()
	b, ok := p.fold.recent.batches[position]
	p.fold.mu.RUnlock()
	if ok {
		return b.entries, nil
	}
	m, err := p.stream.Get(ctx, position)
	if errors.Is(err, backbone.ErrNotFound) {
		return nil, p.purged(ctx, position)
	}
	if err != nil {
		return nil, fmt.Errorf("read position %d of the log: %w", position, err)
	}
	_, entries, err := DecodeBatch(m.Data)
	return entries, err
}

// purged returns nil if the message at position is not there because it was purged. What was folded in was there; a
// leader that does not have it yet, or was cut off, must not make it look as if it were stored.
func (p *partition) purged(ctx context.Context, position uint64) error {
	info, err := p.info.do(ctx)
	if err != nil {
		return fmt.Errorf("ask for the stream's state: %w", err)
	}
	if info.First <= position {
		return fmt.Errorf("position %d of the log was read and is not there: %w", position, backbone.ErrNotFound)
	}
	return nil
}

// Head returns a conversation's end: from memory, or from the database where memory has let it go.
func (l *Log) Head(ctx context.Context, c chat.ConversationID) (Head, error) {
	p := l.of(c)
	if _, err := p.sync(ctx); err != nil {
		return Head{}, err
	}
	mem, settled := p.fold.headOf(c)
	if settled {
		return mem, nil
	}
	db, err := l.stored.Head(ctx, c)
	if err != nil {
		return Head{}, fmt.Errorf("read the head of %s: %w", c, err)
	}
	if db.Seq > mem.Seq {
		return db, nil
	}
	mem.NoticeSeq, mem.SentAt = max(mem.NoticeSeq, db.NoticeSeq), max(mem.SentAt, db.SentAt)
	return mem, nil
}

// headOf returns what memory knows of a head, and whether that is all there is to know.
func (f *fold) headOf(c chat.ConversationID) (Head, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if h := f.heads[c]; h != nil {
		return h.Head, h.settled
	}
	return Head{}, false
}
