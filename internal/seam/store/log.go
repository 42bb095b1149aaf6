package store

import (
	"context"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
)

// Entry is a stored entry.
type Entry struct {
	ConversationID chat.ConversationID
	Seq, Ordinal   uint64
	SenderID       chat.UserID
	SentAt         time.Time
	Kind           int32 // messagev1.EntryKind
	// Dedupe is a hash of sender, conversation and clientMsgId, to look for; several entries may share one.
	Dedupe uint64
	Data   []byte // serialised flow.v1.LogEntry, as it was in the log
}

// Head is a conversation's end as stored.
type Head struct {
	ConversationID chat.ConversationID
	Seq, Ordinal   uint64
	NoticeSeq      uint64 // seq of the newest notice, 0: none
	SentAt         time.Time
	Position       uint64 // of the head's batch in its partition
}

// Mark says up to which position of which incarnation of the log everything is stored.
type Mark struct {
	Incarnation string
	Position    uint64
}

// Cursor is how far a member has read.
type Cursor struct{ Seq, Ordinal uint64 }

// CursorOf is a member's cursor in a conversation.
type CursorOf struct {
	ConversationID chat.ConversationID
	UserID         chat.UserID
	Cursor
	ChangedAt time.Time
}

// Mention says that an entry mentions a user.
type Mention struct {
	UserID         chat.UserID
	ConversationID chat.ConversationID
	Seq            uint64
}

// Batch is what the writer stores at once: a run of one partition's log.
type Batch struct {
	Partition int
	From, To  Mark // the mark moves from From to To
	Entries   []Entry
	Heads     []Head     // one per conversation of the batch: its newest
	Read      []CursorOf // senders' cursors; they only move forward
	Mentions  []Mention
	Raw       []Raw
}

// Raw is a message of the log that could not be decoded. It is kept for a human.
type Raw struct {
	Position uint64
	Data     []byte
}

// Log stores entries. Owner: persistence.
type Log interface {
	// Store stores a batch; entries that are stored already, heads and cursors that are further stay as they are. It
	// returns ErrConflict, with any part of the batch stored, if the mark is not at b.From (any more). The entry with
	// seq 1 of a direct conversation also lists it for both users.
	Store(ctx context.Context, b Batch) error
	// Mark returns a partition's mark; the zero Mark if nothing was stored.
	Mark(ctx context.Context, partition int) (Mark, error)
	// MoveMark sets a partition's mark from from to to and, if raise, raises the epoch, or returns ErrConflict.
	MoveMark(ctx context.Context, partition int, from, to Mark, raise bool) error
	// Epoch returns the log's epoch, 1 at first. Each raise takes it up, at least to the time in ms since 1970: a back-up that is put back
	// twice, or one from before a raise, would otherwise count to a number again that clients of the time in between hold.
	Epoch(ctx context.Context) (uint64, error)
	// Heads returns the stored heads among ids, in any order.
	Heads(ctx context.Context, ids []chat.ConversationID) ([]Head, error)
	// ByDedupe returns the entries of a conversation with that hash, newest first, at most 16.
	ByDedupe(ctx context.Context, c chat.ConversationID, dedupe uint64) ([]Entry, error)
}

// Cursors keeps how far each member has read. Owner: message.
type Cursors interface {
	// Advance moves a cursor forward and returns where it now is and whether it moved. A smaller one is no error and
	// changes nothing, so a retry is harmless.
	Advance(ctx context.Context, c chat.ConversationID, u chat.UserID, to Cursor, at time.Time) (now Cursor, moved bool, err error)
	// Cursors returns the stored cursors of a user among conversations, in any order.
	Cursors(ctx context.Context, u chat.UserID, cs []chat.ConversationID) ([]CursorOf, error)
	// Entry returns one stored entry, or ErrNotFound.
	Entry(ctx context.Context, c chat.ConversationID, seq uint64) (Entry, error)
}

// Reader reads what other owners wrote. Owner: query.
type Reader interface {
	EntryReader
	ListReader
}

// EntryReader reads the entries of a conversation, for pages of history. Owner: query.
type EntryReader interface {
	// Range returns the entries with from <= seq <= to, ascending, at most limit: the newest ones if newest, else the
	// oldest.
	Range(ctx context.Context, c chat.ConversationID, from, to uint64, limit int, newest bool) ([]Entry, error)
	// At returns the entries that at names and that exist, in any order; at names none twice.
	At(ctx context.Context, at []EntryKey) ([]Entry, error)
	// FirstAt returns the seq of the first entry sent at or after t, or 0. It may rely on that sentAt never falls within
	// a conversation.
	FirstAt(ctx context.Context, c chat.ConversationID, t time.Time) (uint64, error)
}

// EntryKey names a stored entry.
type EntryKey struct {
	ConversationID chat.ConversationID
	Seq            uint64
}

// ListReader reads what a list of conversations shows of each. Owner: query.
type ListReader interface {
	// Heads returns the stored heads among ids, in any order.
	Heads(ctx context.Context, ids []chat.ConversationID) ([]Head, error)
	// Directs returns the direct conversations of a user.
	Directs(ctx context.Context, u chat.UserID) ([]chat.ConversationID, error)
	// Cursors returns the stored cursors of a user among conversations, in any order.
	Cursors(ctx context.Context, u chat.UserID, cs []chat.ConversationID) ([]CursorOf, error)
	// PeerCursors returns the stored cursors of everybody but a user among direct conversations, in any order.
	PeerCursors(ctx context.Context, u chat.UserID, cs []chat.ConversationID) ([]CursorOf, error)
	// FirstMentions returns for each conversation the first seq after the given one that mentions the user; none: absent.
	FirstMentions(ctx context.Context, u chat.UserID, after map[chat.ConversationID]uint64) (map[chat.ConversationID]uint64, error)
}
