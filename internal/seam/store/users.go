package store

import (
	"context"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
)

// Profile is a user with its settings; the numbers are those of oceanchat.user.v1.
type Profile struct {
	UserID      chat.UserID
	Username    string
	Nickname    string
	Avatar      string
	Bio         string
	WhoMayFind  int32
	WhoMayAdd   int32
	WhoMayWrite int32
	LastSeen    int32
	PushPreview int32
}

// Profiles keeps users. Owner: user.
type Profiles interface {
	// Create stores a profile; one that exists stays as it is and is no error. ErrExists: the username is another's.
	Create(ctx context.Context, p Profile) error
	// Get returns the profiles that exist among ids, in any order.
	Get(ctx context.Context, ids []chat.UserID) ([]Profile, error)
	// ByUsername returns a profile, or ErrNotFound.
	ByUsername(ctx context.Context, username string) (Profile, error)
	// ByNickname returns profiles whose nickname equals nickname but for case, by id, after the given id: those that
	// everyone may find (WhoMayFind 1, or 0: not chosen), and those among friends that friends may find (2).
	ByNickname(ctx context.Context, nickname string, friends []chat.UserID, after chat.UserID, limit int) ([]Profile, error)
	// Update applies change to a profile and returns it, or ErrNotFound. change may run more than once and holds up other
	// writes: it computes, and calls nothing that waits. id and username do not change. An error of change is returned as
	// it is, and nothing is stored.
	Update(ctx context.Context, id chat.UserID, change func(*Profile) error) (Profile, error)
}

// SeqRange is a range of seqs, both ends included; To = 0 is open.
type SeqRange struct{ From, To uint64 }

// Relation is one user's side of a pair of users.
type Relation struct {
	User, Peer  chat.UserID
	Friend      bool
	FriendSince time.Time
	Remark      string
	Tags        []string
	Starred     bool
	// RequestedAt is set while User waits for Peer's answer.
	RequestedAt    time.Time
	RequestMessage string
	Blocked        bool // User blocks Peer
	BlockedAt      time.Time
	Withheld       []SeqRange // of their conversation: what Peer sent in it User does not get
	// Pending names a change whose inbox entries may be missing still, or is "".
	Pending string
}

// RelationKind selects relations of a user.
type RelationKind int8

// The kinds of List.
const (
	Friends          RelationKind = iota // by peer id
	IncomingRequests                     // Peer waits for User: newest first
	OutgoingRequests                     // newest first
	Blocks                               // newest first
)

// Relations keeps how users stand to each other. Owner: user.
type Relations interface {
	// Get returns both sides of a pair; what is not stored is zero but for its names.
	Get(ctx context.Context, a, b chat.UserID) (ab, ba Relation, err error)
	// Update applies change to both sides at once and returns them. change may run more than once and calls nothing that
	// waits; its error is returned as it is, and nothing is stored. a and b differ.
	Update(ctx context.Context, a, b chat.UserID, change func(ab, ba *Relation) error) (Relation, Relation, error)
	// List returns User's side of relations of a kind, at most limit, after a cursor that an earlier call returned; next
	// is "" at the end; a cursor that no call returned is INVALID_FIELD. For IncomingRequests the Relation is the asking Peer's message seen from User: RequestedAt and
	// RequestMessage are those of the peer's side.
	List(ctx context.Context, u chat.UserID, kind RelationKind, cursor string, limit int) (rs []Relation, next string, err error)
	// FriendIDs returns the ids of all of u's friends.
	FriendIDs(ctx context.Context, u chat.UserID) ([]chat.UserID, error)
	// Pending returns relations whose Pending is set, ordered by it, at most limit, after the given one; "" is before all.
	// Callers give no two relations the same Pending.
	Pending(ctx context.Context, after string, limit int) ([]Relation, error)
}
