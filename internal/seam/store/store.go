// Package store is the seam to the databases: one small interface per owner, named after what it keeps. Only the owner
// named there may use one; query reads through interfaces of its own. Implementations map every foreign error to the
// sentinels below or wrap it; they are safe for concurrent use, keep no argument, and every write is durable when it
// returns. Methods that change several rows are atomic unless they say otherwise. Times are kept to the millisecond and come
// back in UTC; the zero time stays zero. Lists may be empty, and limits of 0 or less return nothing.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
)

// The outcomes that callers tell apart: nothing was changed, unless a method says otherwise. Any other error means that
// the outcome is not known.
var (
	ErrNotFound = errors.New("store: not found")
	ErrExists   = errors.New("store: exists already")
	ErrConflict = errors.New("store: changed by another")
	// ErrFull says that the database has no space left. Reads still work; an operator has to make room.
	ErrFull = errors.New("store: no space left")
)

// Event is a domain event, stored together with the change that it tells of and published afterwards. The zero Event is
// none; one whose ID waits already is not stored again.
type Event struct {
	ID      string
	Subject string
	Data    []byte
}

// Outbox hands out events that wait to be published. Owner: auth.
type Outbox interface {
	// Pending returns the oldest events, at most limit.
	Pending(ctx context.Context, limit int) ([]Event, error)
	// Done forgets published events; unknown ids are ignored.
	Done(ctx context.Context, ids []string) error
	// Len returns how many events wait. It is for people to watch: where counting is dear, a number near it will do, but
	// 0 only if none waits.
	Len(ctx context.Context) (int, error)
}

// Keys keeps secrets that are made at first start. Owner: auth.
type Keys interface {
	// PutIfAbsent stores value under name unless there is one, and returns the one that is stored.
	PutIfAbsent(ctx context.Context, name string, value []byte) ([]byte, error)
}

// Account is what a user logs in with.
type Account struct {
	UserID       chat.UserID
	Username     string
	PasswordHash string
	CreatedAt    time.Time
}

// Accounts keeps credentials. Owner: auth.
type Accounts interface {
	// Create stores an account with its event, or returns ErrExists if the username or id is taken.
	Create(ctx context.Context, a Account, e Event) error
	// ByUsername returns an account, or ErrNotFound.
	ByUsername(ctx context.Context, username string) (Account, error)
	// ByID returns an account, or ErrNotFound.
	ByID(ctx context.Context, id chat.UserID) (Account, error)
	// SetPassword replaces the hash old by hash, or returns ErrConflict if it is not old (any more) or there is no such
	// account.
	SetPassword(ctx context.Context, id chat.UserID, old, hash string, e Event) error
}

// Session is one log-in of one device.
type Session struct {
	ID          chat.SessionID
	UserID      chat.UserID
	DeviceID    chat.DeviceID
	Platform    int32
	Generation  uint64 // how often it was refreshed
	CreatedAt   time.Time
	RefreshedAt time.Time
	ExpiresAt   time.Time
}

// Sessions keeps who is logged in. Sessions past their ExpiresAt are not returned. Owner: auth.
type Sessions interface {
	// Start stores a session with its event and ends every other session of the same user and device, which it returns.
	// A session with that id already: ErrExists.
	Start(ctx context.Context, s Session, e Event) (ended []Session, err error)
	// Get returns the open sessions among ids, in any order.
	Get(ctx context.Context, ids []chat.SessionID) ([]Session, error)
	// Rotate moves a session from generation from to from+1 and returns it, or ErrConflict if it is not at from, or
	// ErrNotFound.
	Rotate(ctx context.Context, id chat.SessionID, from uint64, at, expires time.Time) (Session, error)
	// End ends sessions of one user, with one event each (events[i] belongs to ids[i]), and returns those that were open.
	// What was not open, or is another user's, is passed over with its event, so that a repetition tells nothing twice.
	End(ctx context.Context, u chat.UserID, ids []chat.SessionID, events []Event) (ended []Session, err error)
	// OfUser returns a user's open sessions, newest first.
	OfUser(ctx context.Context, u chat.UserID) ([]Session, error)
}

// PushToken is a device's address at a vendor's push service.
type PushToken struct {
	UserID       chat.UserID
	DeviceID     chat.DeviceID
	SessionID    chat.SessionID // that registered it; empty in what earlier versions stored
	Provider     int32          // pushv1.Provider
	Token        string
	AppID        string
	Environment  int32 // pushv1.Environment
	Language     string
	RegisteredAt time.Time
}

// PushTokens keeps them. A token of a provider and app belongs to one device: registering it elsewhere moves it.
// Owner: pusher-offline.
type PushTokens interface {
	// Put stores t in place of the device's older one.
	Put(ctx context.Context, t PushToken) error
	// Delete removes the tokens of a device registered at or before the given time; none is no error.
	Delete(ctx context.Context, u chat.UserID, d chat.DeviceID, before time.Time) error
	// EndSession removes the tokens of a device that the session registered. Of those that name no session, which earlier
	// versions stored, it removes what was registered at or before the given time. None is no error.
	EndSession(ctx context.Context, u chat.UserID, d chat.DeviceID, s chat.SessionID, before time.Time) error
	// OfUsers returns all tokens of users.
	OfUsers(ctx context.Context, users []chat.UserID) ([]PushToken, error)
}
