package store

import (
	"context"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
)

// Group is a group; the numbers are those of oceanchat.group.v1.
type Group struct {
	ID                chat.GroupID
	Name              string
	Avatar            string
	Description       string
	Announcement      string
	OwnerID           chat.UserID
	JoinMode          int32
	HistoryVisibility int32
	MuteAll           bool
	Dissolved         bool
	CreatedAt         time.Time
	MemberCount       int
	NoticeSeq         uint64 // seq of the newest notice whose change is stored
	Version           uint64 // counts changes; compare-and-set
	// Pending is the Data of a change that was begun: its entry may be in the log already. Empty: none. It and PendingAt
	// are only read; Create, Begin and Commit set them.
	Pending   []byte
	PendingAt time.Time // when it was begun
}

// Change is a change of a group that is begun.
type Change struct {
	Data []byte    // not empty; opaque to the store
	At   time.Time // Unfinished goes by it
	// Users are found to be concerned by it, besides all who have a membership; each once.
	Users []chat.UserID
}

// Begun says which group has a pending change and since when.
type Begun struct {
	At      time.Time
	GroupID chat.GroupID
}

// Span is a stretch of a group's log that a member sees, both ends included.
type Span struct {
	From, To               uint64 // To = 0: still a member
	FromOrdinal, ToOrdinal uint64
	ToAt                   time.Time // sentAt of the entry To
}

// Member is a user's part in a group, kept after leaving.
type Member struct {
	GroupID    chat.GroupID
	UserID     chat.UserID
	Role       int32 // 0 after leaving
	MutedUntil time.Time
	Nickname   string
	JoinedAt   time.Time
	Spans      []Span // ascending
	ChangedAt  time.Time
}

// Present reports whether m is a member now.
func (m Member) Present() bool { return len(m.Spans) > 0 && m.Spans[len(m.Spans)-1].To == 0 }

// Groups keeps groups. Changes go in two steps, so that one that is half done can be completed: Begin records it,
// its entry is appended to the log, Commit stores its effect. Owner: group.
type Groups interface {
	// Create stores a group that has c pending and no member, or returns ErrExists.
	Create(ctx context.Context, g Group, c Change) error
	// Get returns the groups that exist among ids, in any order.
	Get(ctx context.Context, ids []chat.GroupID) ([]Group, error)
	// Begin records a pending change if the group is at version and has none, else ErrConflict, as for a group that does
	// not exist. The version stays.
	Begin(ctx context.Context, id chat.GroupID, version uint64, c Change) error
	// Commit stores members and the group with Version+1 and no pending change, if the group is at g.Version, else
	// ErrConflict with nothing changed but perhaps members (an implementation without transactions writes members first;
	// they are the same whenever the same change is completed). Cancel: Commit with no members and the old fields.
	Commit(ctx context.Context, g Group, members []Member) error
	// Unfinished returns what is pending, the oldest first, then by id: what comes after after, at most limit. The zero
	// Begun is before all.
	Unfinished(ctx context.Context, after Begun, limit int) ([]Begun, error)
	// UnfinishedOf returns the groups with a pending change in which a user has a membership, a past one included, or
	// whose change names the user; in any order. It misses none that was begun before the call and is pending after it.
	UnfinishedOf(ctx context.Context, u chat.UserID) ([]chat.GroupID, error)
}

// Members keeps memberships. Owner: group.
type Members interface {
	// Get returns the memberships of users in a group, past ones included, in any order.
	Get(ctx context.Context, g chat.GroupID, users []chat.UserID) ([]Member, error)
	// Present returns the present members: by role (highest first), time of joining, id; at most limit, from offset on.
	Present(ctx context.Context, g chat.GroupID, offset, limit int) ([]Member, error)
	// PresentIDs returns the ids of all present members.
	PresentIDs(ctx context.Context, g chat.GroupID) ([]chat.UserID, error)
	// Ever returns all who are or were members, in any order.
	Ever(ctx context.Context, g chat.GroupID) ([]Member, error)
	// OfUser returns all memberships of a user, past ones included.
	OfUser(ctx context.Context, u chat.UserID) ([]Member, error)
}
