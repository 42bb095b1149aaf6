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
// else the oldest. Ask it before the database: what is in neither answer does not exist (L6).
func (l *Log) Tail(ctx context.Context, c chat.ConversationID, from, to uint64, limit int, newest bool) (Tail, error) {
	p := l.of(c)
	if _, err := p.sync(ctx); err != nil {
		return Tail{}, err
	}
	places, head := p.fold.placesOf(c, from, to)
	if len(places) == 0 {
		if head.Seq == 0 {
			return Tail{}, nil
		}
		return Tail{Head: head.Seq, From: head.Seq + 1}, nil
	}
	t := Tail{Head: head.Seq, From: places[0].firstSeq}
	entries, err := p.entriesAt(ctx, c, places, from, to)
	if err != nil {
		return Tail{}, err
	}
	if len(entries) > limit && newest {
		entries = entries[len(entries)-limit:]
		t.From = entries[0].GetEntry().GetSeq()
	}
	for _, e := range entries[:min(limit, len(entries))] {
		t.Entries = append(t.Entries, e.GetEntry())
	}
	return t, nil
}

// unstoredOf returns the entries of c between from and to that are not stored.
func (p *partition) unstoredOf(ctx context.Context, c chat.ConversationID, from, to uint64) ([]*flowv1.LogEntry, error) {
	places, _ := p.fold.placesOf(c, from, to)
	return p.entriesAt(ctx, c, places, from, to)
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

// entriesAt reads entries from memory, or from the log. A batch that was purged meanwhile is stored, so the database
// has it.
func (p *partition) entriesAt(ctx context.Context, c chat.ConversationID, places []place, from, to uint64) ([]*flowv1.LogEntry, error) {
	var out []*flowv1.LogEntry
	for _, pl := range places {
		entries, err := p.batchAt(ctx, pl.position)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			seq := e.GetEntry().GetSeq()
			if e.GetEntry().GetConversationId() == string(c) && from <= seq && seq <= to {
				out = append(out, e)
			}
		}
	}
	return out, nil
}

func (p *partition) batchAt(ctx context.Context, position uint64) ([]*flowv1.LogEntry, error) {
	p.fold.mu.RLock()
	b, ok := p.fold.recent.batches[position]
	p.fold.mu.RUnlock()
	if ok {
		return b.entries, nil
	}
	m, err := p.stream.Get(ctx, position)
	if errors.Is(err, backbone.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read position %d of the log: %w", position, err)
	}
	_, entries, err := DecodeBatch(m.Data)
	return entries, err
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
