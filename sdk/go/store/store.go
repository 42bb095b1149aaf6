// Package store keeps what a client must not forget: tokens, the sync token, conversations, held entries, where
// readers of entries stand, and the outbox.
//
// It declares Store, one small interface with one atomic write, and the implementation Memory; sqlitestore has one
// that outlives the process. It knows no network and decides nothing: what a change means is the client's business.
// One Store belongs to one user on one device, and to one client at a time.
package store

import (
	"context"
	"errors"
	"time"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
)

// ErrClosed is what a closed Store answers.
var ErrClosed = errors.New("store is closed")

// Store is the memory of a client. Implementations are safe for concurrent use. What they take and give may be shared:
// neither side changes it afterwards.
type Store interface {
	// Load returns everything but the entries. It is called before a client connects, and again after a failed Apply.
	Load(ctx context.Context) (State, error)
	// Apply makes all changes of b, or none when it returns an error. What it returned nil for survives the end of the
	// process where the implementation promises that at all.
	Apply(ctx context.Context, b Batch) error
	// Entries returns at most limit held entries of a conversation with a seq above after, ascending.
	Entries(ctx context.Context, conversation string, after uint64, limit int) ([]*messagev1.Entry, error)
	// Close releases what the Store holds open; later calls answer ErrClosed.
	Close() error
}

// State is what Load returns.
type State struct {
	Meta          Meta
	Conversations []*queryv1.Conversation
	Held          map[string]Ranges // by conversation
	Outbox        []Item            // ascending by N
	Cursors       []Cursor
}

// Meta is what there is once.
type Meta struct {
	UserID string // whose data these are; empty before the first connection
	// Username is that user's, in lower case, and DeviceID the device that Tokens are of; empty where a program that did
	// not note them wrote the Store.
	Username  string
	DeviceID  string
	Tokens    Tokens
	Epoch     uint64 // of the log that the entries are of
	SyncToken string
}

// Tokens are the credentials of a session. They are secrets: implementations keep them from other users of the machine.
type Tokens struct {
	Access  string
	Refresh string
	Expires time.Time // of Access; zero when not known
	// Origin is the refresh token that the application handed in and that these descend from, if it did.
	Origin string
}

// Item is a message in the outbox.
type Item struct {
	ID      string // the message's clientMsgId
	N       uint64 // its place: items go out in this order within a conversation
	Request []byte // the marshalled messagev1.SendRequest
	// Failed is the marshalled wirev1.Error that ended it; empty while it is to be sent.
	Failed []byte
}

// Cursor says how far a named reader of entries has come in a conversation.
type Cursor struct {
	Reader       string
	Conversation string
	Seq          uint64
}

// Batch is a set of changes that belong together. They are made in the order of the fields.
type Batch struct {
	// Wipe removes everything but outbox, cursors, and of Meta the UserID.
	Wipe bool
	// Truncate removes, by conversation, entries with a seq above the given one, and lowers held ranges and cursors to it.
	Truncate map[string]uint64
	// Forget removes, by conversation, entries with a seq below the given one.
	Forget map[string]uint64

	Meta          *Meta // replaces the whole of it
	Conversations []*queryv1.Conversation
	Entries       []*messagev1.Entry // an entry that is there already is replaced
	Held          map[string]Ranges  // replaces the ranges of these conversations
	Put           []Item             // an item with the same ID is replaced
	Remove        []string           // ids of items; an unknown one is no error
	Cursors       []Cursor           // an existing one is replaced
}

// Empty reports whether b changes nothing.
func (b *Batch) Empty() bool {
	return !b.Wipe && b.Meta == nil && len(b.Truncate)+len(b.Forget)+len(b.Conversations)+len(b.Entries)+
		len(b.Held)+len(b.Put)+len(b.Remove)+len(b.Cursors) == 0
}
