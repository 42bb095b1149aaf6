package chat

import (
	"hash/fnv"
	"strings"

	"github.com/oceanchat/oceanchat/internal/fault"
)

// ConversationID names an ordered log: "d~A~B" (A < B in byte order), "g~<groupId>" or "i~<userId>". As '~' stands in
// no other id, no two conversations share one.
type ConversationID string

// Kind tells the three kinds of conversation apart.
type Kind byte

// The kinds; the value is the first byte of the id.
const (
	KindNone   Kind = 0
	KindDirect Kind = 'd'
	KindGroup  Kind = 'g'
	KindInbox  Kind = 'i'
)

// DirectID returns the conversation of two different users, the same for both orders.
func DirectID(a, b UserID) (ConversationID, error) {
	if !ValidID(string(a)) || !ValidID(string(b)) {
		return "", fault.InvalidField("userId", idRule)
	}
	if a == b {
		return "", fault.InvalidField("userId", "not oneself")
	}
	if b < a {
		a, b = b, a
	}
	return ConversationID("d~" + string(a) + "~" + string(b)), nil
}

// GroupConversation returns the conversation of a group. g must be valid.
func GroupConversation(g GroupID) ConversationID { return ConversationID("g~" + string(g)) }

// InboxID returns the inbox of a user. u must be valid.
func InboxID(u UserID) ConversationID { return ConversationID("i~" + string(u)) }

// ParseConversationID returns s as an id, or INVALID_FIELD naming field if it is none.
func ParseConversationID(field, s string) (ConversationID, error) {
	c := ConversationID(s)
	if c.Kind() == KindNone {
		return "", fault.InvalidField(field, "d~<userId>~<userId> in byte order, g~<groupId> or i~<userId>")
	}
	return c, nil
}

// Kind returns the kind of c, or KindNone if c is not a valid id.
func (c ConversationID) Kind() Kind {
	kind, rest, ok := strings.Cut(string(c), "~")
	switch {
	case !ok:
	case kind == "d":
		a, b, ok := strings.Cut(rest, "~")
		if ok && ValidID(a) && ValidID(b) && a < b {
			return KindDirect
		}
	case (kind == "g" || kind == "i") && ValidID(rest):
		return Kind(kind[0])
	}
	return KindNone
}

// Users returns the two ends of a direct conversation, or "", "" for another kind.
func (c ConversationID) Users() (UserID, UserID) {
	rest, ok := strings.CutPrefix(string(c), "d~")
	if !ok {
		return "", ""
	}
	a, b, _ := strings.Cut(rest, "~")
	return UserID(a), UserID(b)
}

// Peer returns the other end of a direct conversation, or "" if u is no end of it.
func (c ConversationID) Peer(u UserID) UserID {
	a, b := c.Users()
	switch u {
	case a:
		return b
	case b:
		return a
	}
	return ""
}

// Group returns the group of a group conversation, or "".
func (c ConversationID) Group() GroupID {
	g, _ := strings.CutPrefix(string(c), "g~")
	if g == string(c) {
		return ""
	}
	return GroupID(g)
}

// Owner returns the user of an inbox, or "".
func (c ConversationID) Owner() UserID {
	u, _ := strings.CutPrefix(string(c), "i~")
	if u == string(c) {
		return ""
	}
	return UserID(u)
}

// Partition returns which of n log partitions holds c: FNV-1a modulo n. It must never change for a given n.
func (c ConversationID) Partition(n int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(c))
	return int(h.Sum32() % uint32(n))
}
