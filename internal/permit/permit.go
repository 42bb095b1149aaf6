// Package permit holds the one function that decides what a user may do with a conversation. Every access by
// conversation id passes Authorise. It decides nothing of its own: user decides about pairs of users, group about
// groups. What is not yours answers exactly as what is not there (NOT_FOUND).
package permit

import (
	"context"
	"fmt"
	"time"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// Verb is what the user wants to do.
type Verb int8

// The verbs.
const (
	Read  Verb = iota // see entries, move one's own cursor
	Write             // append a message, or tell that one is typing
)

// Range is a range of seqs, both ends included; To = 0 is open.
type Range struct{ From, To uint64 }

func (r Range) holds(seq uint64) bool { return seq >= r.From && (r.To == 0 || seq <= r.To) }

// Scope is what a user may see of a conversation.
type Scope struct {
	User         chat.UserID
	Conversation chat.ConversationID
	// Visible are the ranges that the user sees, ascending; at least one in an answer of Authorise.
	Visible []Range
	// Withheld are ranges in which entries of the direct peer show as hidden.
	Withheld []Range
	// Membership is set for groups.
	Membership *groupv1.Membership
	// AsOf is for Write to a group: the permission holds while no notice with a higher seq is in the log.
	AsOf uint64
	// Until is when the permission ends by itself; zero: never.
	Until time.Time
}

// First returns the first seq that the user sees.
func (s Scope) First() uint64 { return s.Visible[0].From }

// Last returns the last seq that the user sees of a log that ends at head.
func (s Scope) Last(head uint64) uint64 {
	if to := s.Visible[len(s.Visible)-1].To; to != 0 {
		return min(to, head)
	}
	return head
}

// Sees reports whether the entry at seq may be shown; if not it is hidden: a seq without a body.
func (s Scope) Sees(seq uint64, sender chat.UserID) bool {
	if sender != s.User {
		for _, r := range s.Withheld {
			if r.holds(seq) {
				return false
			}
		}
	}
	for _, r := range s.Visible {
		if r.holds(seq) {
			return true
		}
	}
	return false
}

// Gate asks the owners. It is safe for concurrent use.
type Gate struct {
	users  userv1.UserInternalServiceClient
	groups groupv1.GroupInternalServiceClient
}

// New returns a Gate.
func New(users userv1.UserInternalServiceClient, groups groupv1.GroupInternalServiceClient) *Gate {
	return &Gate{users, groups}
}

// NotFound is the answer for what is not there and for what is not the caller's.
func NotFound() error { return fault.New(fault.NotFoundReason, "no such conversation") }

// Authorise returns what u may see of c, or why u may not do verb: NOT_FOUND, NOT_ALLOWED (direct), NOT_MEMBER,
// MUTED (group). Nobody writes to an inbox.
func (g *Gate) Authorise(ctx context.Context, u chat.UserID, c chat.ConversationID, verb Verb) (Scope, error) {
	switch c.Kind() {
	case chat.KindDirect:
		return g.direct(ctx, u, c, verb)
	case chat.KindGroup:
		return g.group(ctx, u, c, verb)
	case chat.KindInbox:
		if c.Owner() == u && verb == Read {
			return Scope{User: u, Conversation: c, Visible: []Range{{From: 1}}}, nil
		}
	case chat.KindNone:
	}
	return Scope{}, NotFound()
}

func (g *Gate) direct(ctx context.Context, u chat.UserID, c chat.ConversationID, verb Verb) (Scope, error) {
	peer := c.Peer(u)
	if peer == "" {
		return Scope{}, NotFound()
	}
	s := Scope{User: u, Conversation: c, Visible: []Range{{From: 1}}}
	if verb == Write {
		rel, err := g.users.GetRelation(ctx, &userv1.GetRelationRequest{ActorId: string(u), TargetId: string(peer)})
		switch {
		case err != nil:
			return Scope{}, fmt.Errorf("ask whether %s may write to %s: %w", u, peer, err)
		case !rel.GetTargetExists():
			return Scope{}, NotFound()
		case !rel.GetMayWrite():
			return Scope{}, fault.New(fault.NotAllowed, "this user does not take your messages")
		}
		return s, nil
	}
	// What the reader withholds from itself is the relation seen from the peer.
	rel, err := g.users.GetRelation(ctx, &userv1.GetRelationRequest{ActorId: string(peer), TargetId: string(u)})
	if err != nil {
		return Scope{}, fmt.Errorf("ask how %s stands to %s: %w", peer, u, err)
	}
	if !rel.GetActorExists() {
		return Scope{}, NotFound()
	}
	s.Withheld = ranges(rel.GetWithheld())
	return s, nil
}

func (g *Gate) group(ctx context.Context, u chat.UserID, c chat.ConversationID, verb Verb) (Scope, error) {
	if verb == Write {
		may, err := g.groups.MaySend(ctx, &groupv1.MaySendRequest{GroupId: string(c.Group()), UserId: string(u)})
		if fault.IsReason(err, fault.NotFoundReason) {
			return Scope{}, NotFound()
		}
		if err != nil {
			return Scope{}, fmt.Errorf("ask whether %s may write to %s: %w", u, c, err)
		}
		s := Scope{User: u, Conversation: c, Visible: []Range{{From: 1}}, AsOf: may.GetAsOfSeq()}
		if may.GetUntil() != nil {
			s.Until = may.GetUntil().AsTime()
		}
		return s, nil
	}
	m, err := g.groups.GetMembership(ctx, &groupv1.GetMembershipRequest{GroupId: string(c.Group()), UserId: string(u)})
	if fault.IsReason(err, fault.NotFoundReason) {
		return Scope{}, NotFound()
	}
	if err != nil {
		return Scope{}, fmt.Errorf("ask for the membership of %s in %s: %w", u, c, err)
	}
	s := OfMembership(u, m.GetMembership())
	if len(s.Visible) == 0 {
		return Scope{}, NotFound()
	}
	return s, nil
}

// OfMembership returns the scope of a membership that the caller got from group; Visible may be empty.
func OfMembership(u chat.UserID, m *groupv1.Membership) Scope {
	return Scope{
		User: u, Conversation: chat.GroupConversation(chat.GroupID(m.GetGroupId())),
		Visible: ranges(m.GetVisible()), Membership: m,
	}
}

func ranges(rs []*userv1.SeqRange) []Range {
	out := make([]Range, 0, len(rs))
	for _, r := range rs {
		out = append(out, Range{r.GetFrom(), r.GetTo()})
	}
	return out
}
