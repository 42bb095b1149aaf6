package convlog

import (
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
	settled  bool // nothing is in the database that it does not know
	asked    bool // the database is being asked, so it stays in memory and learns what happens meanwhile
	tail     []place
	own      map[chat.UserID]Head // newest message of each sender
	mentions map[chat.UserID][]uint64
}

// advance moves the head to e, and reports whether e is news to it. It is not if the database was ahead of the fold.
func (h *head) advance(e *messagev1.Entry, position uint64) bool {
	if e.GetSeq() <= h.Seq {
		return false
	}
	h.Seq, h.Ordinal, h.Position = e.GetSeq(), e.GetOrdinal(), position
	h.SentAt = max(h.SentAt, e.GetSentAt().AsTime().UnixMilli())
	if e.GetKind() == messagev1.EntryKind_ENTRY_KIND_NOTICE {
		h.NoticeSeq = h.Seq
	}
	return true
}

// note keeps what users' views need of the head's newest entry while it is in the tail.
func (h *head) note(e *messagev1.Entry) {
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

// asking keeps the head of c in memory until settle, so that it learns of what is appended while the database is being
// asked. It returns what settle wants to know.
func (f *fold) asking(c chat.ConversationID) moment {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.heads[c]
	if h == nil {
		f.evict()
		h = &head{id: c}
		f.heads[c] = h
	}
	h.asked = true
	return moment{f.gaps, f.ids.forgotten}
}

// settle ends asking. It takes in what the database said of c, unless that is nil; the higher of both counts. If
// messages were passed unread since it was asked, the answer is too old: the head stays unsettled and is asked for again.
func (f *fold) settle(c chat.ConversationID, db *Head, asked moment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.heads[c]
	h.asked = false
	if db == nil || h.settled || asked.gaps != f.gaps {
		return
	}
	if db.Seq > h.Seq {
		h.Seq, h.Ordinal, h.Position = db.Seq, db.Ordinal, max(h.Position, db.Position)
	}
	h.NoticeSeq, h.SentAt = max(h.NoticeSeq, db.NoticeSeq), max(h.SentAt, db.SentAt)
	h.settled = true
}
