package convlog

import (
	"slices"
	"sync"
	"time"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
)

// Head is a conversation's end.
type Head struct {
	Seq, Ordinal uint64
	NoticeSeq    uint64 // seq of the newest notice
	SentAt       int64  // ms
	Position     uint64 // of its batch in the partition
}

// place is one batch that holds entries of a conversation which are not stored.
type place struct{ position, firstSeq uint64 }

// head is what the fold keeps of a conversation. What stands in tail is not stored yet; the maps speak of the tail only.
type head struct {
	Head
	id       chat.ConversationID
	settled  bool // compared with the database since the fold began
	tail     []place
	own      map[chat.UserID]Head // newest message of each sender
	mentions map[chat.UserID][]uint64
}

// unstored is an element of the fold's queue of batches that are not stored.
type unstored struct {
	position uint64
	heads    []*head
}

// fold is what an appender knows of its partition: heads, remembered ids, and where the entries stand that are not
// stored. It is a pure function of the log's messages, in order, and of the writer's mark. It is safe for concurrent
// use; only the appender's loop changes it.
type fold struct {
	mu       sync.RWMutex // guards everything below
	position uint64       // of the last message folded in
	stored   uint64       // everything up to here is in the database
	heads    map[chat.ConversationID]*head
	directs  map[chat.UserID]map[chat.ConversationID]bool // direct conversations with a tail
	ids      *idWindow
	queue    []unstored
	moved    chan struct{} // closed and replaced when position moves
	maxHeads int
	recent   *recentBatches
}

func newFold(cfg Config) *fold {
	return &fold{
		heads:    map[chat.ConversationID]*head{},
		directs:  map[chat.UserID]map[chat.ConversationID]bool{},
		ids:      newIDWindow(cfg.IDsFor, cfg.IDs),
		moved:    make(chan struct{}),
		maxHeads: cfg.Heads,
		recent:   newRecentBatches(int(cfg.RecentBytes)),
	}
}

// apply folds in the entries of the message at position. Entries of messages that are stored already teach only ids:
// their heads are in the database, which may know higher ones than a log that was set back. A head that apply makes is
// not settled: its newest notice may be in the database only.
func (f *fold) apply(position uint64, at time.Time, entries []*flowv1.LogEntry, size int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	isStored := position <= f.stored
	u := unstored{position: position}
	for _, le := range entries {
		e := le.GetEntry()
		f.remember(le, at)
		if isStored {
			continue
		}
		h := f.headFor(chat.ConversationID(e.GetConversationId()))
		if n := len(h.tail); n == 0 || h.tail[n-1].position != position {
			h.tail = append(h.tail, place{position, e.GetSeq()})
			u.heads = append(u.heads, h)
		}
		h.advance(e, position)
	}
	if len(u.heads) > 0 {
		f.queue = append(f.queue, u)
		f.recent.put(position, entries, size)
	}
	f.moveTo(position)
}

// skip passes a message that is no batch.
func (f *fold) skip(position uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.moveTo(position)
}

func (f *fold) moveTo(position uint64) {
	f.position = position
	close(f.moved)
	f.moved = make(chan struct{})
}

func (f *fold) remember(le *flowv1.LogEntry, at time.Time) {
	e := le.GetEntry()
	if e.GetClientMsgId() == "" {
		return
	}
	k := f.ids.key(chat.UserID(e.GetSenderId()), chat.ConversationID(e.GetConversationId()), e.GetClientMsgId())
	f.ids.put(k, remembered{
		random: chat.MessageID(e.GetMessageId()).Random(), seq: e.GetSeq(), ordinal: e.GetOrdinal(),
		sentAt: e.GetSentAt().AsTime().UnixMilli(), body: le.GetBodyHash(),
	}, at)
}

// headFor returns the head of c, made if need be; the caller holds mu.
func (f *fold) headFor(c chat.ConversationID) *head {
	h := f.heads[c]
	if h == nil {
		f.evict()
		h = &head{id: c}
		f.heads[c] = h
	}
	if len(h.tail) == 0 {
		for _, u := range directUsers(c) {
			if f.directs[u] == nil {
				f.directs[u] = map[chat.ConversationID]bool{}
			}
			f.directs[u][c] = true
		}
	}
	return h
}

func directUsers(c chat.ConversationID) []chat.UserID {
	a, b := c.Users()
	if a == "" {
		return nil
	}
	return []chat.UserID{a, b}
}

// evict forgets heads whose entries are all stored, a few at a time in the map's random order, once there are too many.
func (f *fold) evict() {
	if len(f.heads) < f.maxHeads {
		return
	}
	looked := 0
	for c, h := range f.heads {
		if len(h.tail) == 0 {
			delete(f.heads, c)
		}
		if looked++; looked == 8 {
			return
		}
	}
}

func (h *head) advance(e *messagev1.Entry, position uint64) {
	if e.GetSeq() <= h.Seq {
		return // a log that was set back: the database was ahead
	}
	h.Seq, h.Ordinal, h.Position = e.GetSeq(), e.GetOrdinal(), position
	h.SentAt = max(h.SentAt, e.GetSentAt().AsTime().UnixMilli())
	if e.GetKind() == messagev1.EntryKind_ENTRY_KIND_NOTICE {
		h.NoticeSeq = h.Seq
	}
	if MovesCursor(e) {
		if h.own == nil {
			h.own = map[chat.UserID]Head{}
		}
		h.own[chat.UserID(e.GetSenderId())] = h.Head
	}
	for _, m := range e.GetText().GetMentions() {
		if h.mentions == nil {
			h.mentions = map[chat.UserID][]uint64{}
		}
		h.mentions[chat.UserID(m.GetUserId())] = append(h.mentions[chat.UserID(m.GetUserId())], h.Seq)
	}
}

// trim learns that everything up to stored is in the database.
func (f *fold) trim(stored uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stored = max(f.stored, stored)
	for len(f.queue) > 0 && f.queue[0].position <= f.stored {
		for _, h := range f.queue[0].heads {
			f.trimHead(h)
		}
		f.recent.drop(f.queue[0].position)
		f.queue[0] = unstored{}
		f.queue = f.queue[1:]
	}
}

func (f *fold) trimHead(h *head) {
	for len(h.tail) > 0 && h.tail[0].position <= f.stored {
		h.tail = h.tail[1:]
	}
	if len(h.tail) > 0 {
		for u, seqs := range h.mentions {
			i, _ := slices.BinarySearch(seqs, h.tail[0].firstSeq)
			h.mentions[u] = seqs[i:]
		}
		return
	}
	h.tail, h.own, h.mentions = nil, nil, nil
	for _, u := range directUsers(h.id) {
		delete(f.directs[u], h.id)
		if len(f.directs[u]) == 0 {
			delete(f.directs, u)
		}
	}
}

// settle takes in what the database says of c; the higher of both counts.
func (f *fold) settle(c chat.ConversationID, db Head) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.heads[c]
	if h == nil {
		f.evict()
		h = &head{id: c}
		f.heads[c] = h
	}
	if h.settled {
		return
	}
	if db.Seq > h.Seq {
		h.Seq, h.Ordinal, h.Position = db.Seq, db.Ordinal, max(h.Position, db.Position)
	}
	h.NoticeSeq, h.SentAt = max(h.NoticeSeq, db.NoticeSeq), max(h.SentAt, db.SentAt)
	h.settled = true
}

func (f *fold) at() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.position
}

// wait returns once everything up to position is folded in, and false if done is closed before.
func (f *fold) wait(position uint64, done <-chan struct{}) bool {
	for {
		f.mu.RLock()
		at, moved := f.position, f.moved
		f.mu.RUnlock()
		if at >= position {
			return true
		}
		select {
		case <-moved:
		case <-done:
			return false
		}
	}
}
