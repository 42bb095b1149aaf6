package convlog

import (
	"slices"
	"sync"
	"time"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
)

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
	log      string       // incarnation of the log; "" before begin
	position uint64       // of the last message folded in
	last     BatchID      // of that message; zero if it was no batch
	seen     bool         // last is known; else the fold begins behind position
	stored   uint64       // everything up to here is in the database; the writer may be ahead of position
	gaps     uint64       // how often messages were passed that had been purged unread
	heads    map[chat.ConversationID]*head
	directs  map[chat.UserID]map[chat.ConversationID]bool // direct conversations with a tail
	ids      *idWindow
	queue    []unstored
	moved    chan struct{} // closed and replaced when position moves
	maxHeads int
	recent   *recentBatches
}

// moment is a point in the fold's life: what the database answered to a question of then is all there is to know,
// together with what the fold has learned since, as long as it neither missed nor forgot anything.
type moment struct{ gaps, forgotten uint64 }

func (f *fold) now() moment {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return moment{f.gaps, f.ids.forgotten}
}

// remembersSince reports whether every id that was folded in since m is remembered: none was passed unread, and of the
// two generations that ids live in at most one has gone. nil is never.
func (f *fold) remembersSince(m *moment) bool {
	if m == nil {
		return false
	}
	now := f.now()
	return now.gaps == m.gaps && now.forgotten-m.forgotten < 2
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

// begin sets where the fold begins: behind position of a log of which everything up to stored is in the database.
func (f *fold) begin(log string, position, stored uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log, f.stored = log, stored
	f.moveTo(position)
}

// beginAnew goes on behind position, which is not below where it is and up to which everything was purged. Whether that
// was what is folded cannot be seen any more (L7), so nothing of it is kept: all of it is in the database.
func (f *fold) beginAnew(position uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.passPurged(position)
	for c, h := range f.heads {
		if h.asked { // by who waits for it; the answer is thrown away
			h.Head = Head{}
		} else {
			delete(f.heads, c)
		}
	}
	f.ids.clear()
	f.seen = false
	f.moveTo(position)
}

// end says what the log must still have if it is the one that is folded: how far it is read or known to be stored, and
// the last message read; seen is false if nothing is known of that one.
func (f *fold) end() (least Mark, at uint64, last BatchID, seen bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return Mark{f.log, max(f.position, f.stored)}, f.position, f.last, f.seen
}

// apply folds in the entries of the message at position. Entries of messages that are stored already teach ids and
// advance the heads that are in memory, but make none: their heads are in the database, which may know higher ones than
// a log that was set back. A head that apply makes is not settled: its newest notice may be in the database only.
func (f *fold) apply(position uint64, at time.Time, id BatchID, entries []*flowv1.LogEntry, size int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if position > f.position+1 {
		f.passPurged(position - 1)
	}
	isStored := position <= f.stored
	u := unstored{position: position}
	for _, le := range entries {
		e := le.GetEntry()
		f.remember(le, at)
		if isStored {
			if h := f.heads[chat.ConversationID(e.GetConversationId())]; h != nil {
				h.advance(e, position)
			}
			continue
		}
		h := f.headFor(chat.ConversationID(e.GetConversationId()))
		if n := len(h.tail); n == 0 || h.tail[n-1].position != position {
			h.tail = append(h.tail, place{position, e.GetSeq()})
			u.heads = append(u.heads, h)
		}
		if h.advance(e, position) {
			h.note(e)
		}
	}
	if len(u.heads) > 0 {
		f.queue = append(f.queue, u)
		f.recent.put(position, entries, size)
	}
	f.last, f.seen = id, true
	f.moveTo(position)
}

// skip passes a message that is no batch.
func (f *fold) skip(position uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if position > f.position+1 {
		f.passPurged(position - 1)
	}
	f.last, f.seen = BatchID{}, true
	f.moveTo(position)
}

// passPurged learns that what comes up to position was purged unread. So it is stored, and whatever memory knows of any
// head may be older than what the database knows; so may be what the database is being asked right now.
func (f *fold) passPurged(position uint64) {
	f.gaps++
	f.trimTo(position)
	for _, h := range f.heads {
		h.settled = false
	}
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
	if a == "" || b == "" {
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
		if len(h.tail) == 0 && !h.asked {
			delete(f.heads, c)
		}
		if looked++; looked == 8 {
			return
		}
	}
}

// trim learns that everything up to stored is in the database.
func (f *fold) trim(stored uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trimTo(stored)
}

func (f *fold) trimTo(stored uint64) {
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
			if h.mentions[u] = seqs[i:]; i == len(seqs) {
				delete(h.mentions, u)
			}
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

// logOf returns the incarnation of the log that is folded.
func (f *fold) logOf() string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.log
}

func (f *fold) at() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.position
}

// wait returns once everything up to position is folded in, and false if done or ended is closed before.
func (f *fold) wait(position uint64, done, ended <-chan struct{}) bool {
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
		case <-ended:
			return false
		}
	}
}
