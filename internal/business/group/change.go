package group

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// kind says what a change does. The words are stored; they never change their meaning.
type kind string

const (
	created     kind = "created"     // Users, the owner first, are the first members
	joined      kind = "joined"      // Users become members
	ended       kind = "ended"       // Users are members no more: they left or were removed
	edited      kind = "edited"      // Set replaces fields of the group
	memberEdit  kind = "member"      // Member replaces fields of Users[0]
	transferred kind = "transferred" // Users[0] becomes the owner, the old one an admin
	dissolved   kind = "dissolved"   // Users, all members, are members no more, and nobody ever is again
)

// changeSchema is the version of the stored form. A change with a higher one is left to the newer instances that know
// it (invariant 10).
const changeSchema = 1

// change is a change of a group as it is recorded by Begin: everything that its notice and its effect need besides the
// place of the notice in the log, so that whoever completes it does exactly the same.
type change struct {
	Schema int           `json:"schema"`
	ID     string        `json:"id"`
	Kind   kind          `json:"kind"`
	Actor  chat.UserID   `json:"actor"`
	At     time.Time     `json:"at"`
	Users  []chat.UserID `json:"users,omitempty"`
	Set    *groupFields  `json:"set,omitempty"`
	Member *memberFields `json:"member,omitempty"`
	// Notice is the notice's type, messagev1.NoticeType; 0: the change has none.
	Notice int32  `json:"notice,omitempty"`
	Name   string `json:"name,omitempty"` // of the notice
}

// groupFields are new values of a group; nil: as it was.
type groupFields struct {
	Name              *string `json:"name,omitempty"`
	Avatar            *string `json:"avatar,omitempty"`
	Description       *string `json:"description,omitempty"`
	JoinMode          *int32  `json:"joinMode,omitempty"`
	HistoryVisibility *int32  `json:"historyVisibility,omitempty"`
	MuteAll           *bool   `json:"muteAll,omitempty"`
}

// memberFields are new values of a member; nil: as it was.
type memberFields struct {
	Role       *int32     `json:"role,omitempty"`
	MutedUntil *time.Time `json:"mutedUntil,omitempty"`
	Nickname   *string    `json:"nickname,omitempty"`
}

// newChange returns a change with an id of its own.
func (s *Service) newChange(k kind, actor chat.UserID, notice messagev1.NoticeType, users ...chat.UserID) *change {
	return &change{
		Schema: changeSchema, ID: chat.NewID(), Kind: k, Actor: actor, At: s.now().UTC().Truncate(time.Millisecond),
		Users: users, Notice: int32(notice),
	}
}

// encode returns c as it is stored until it is done. Only those who join are named to the store: everyone else whom a
// change may concern has a membership, by which the store finds it.
func (c *change) encode() (store.Change, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return store.Change{}, fmt.Errorf("encode change: %w", err)
	}
	out := store.Change{Data: data, At: c.At}
	if c.Kind == created || c.Kind == joined {
		out.Users = c.Users
	}
	return out, nil
}

func decodeChange(data []byte) (*change, error) {
	c := new(change)
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("decode change: %w", err)
	}
	if c.Schema > changeSchema {
		return nil, fmt.Errorf("change %s has schema %d; this version knows %d", c.ID, c.Schema, changeSchema)
	}
	return c, nil
}

// concerns reports whether u's membership may be another after the change.
func (c *change) concerns(u chat.UserID) bool { return slices.Contains(c.Users, u) }

// entry returns the change's notice: the same whoever makes it, as the log tells a repetition by its hash.
func (c *change) entry(g chat.GroupID) *messagev1.Entry {
	n := &messagev1.Notice{Type: messagev1.NoticeType(c.Notice), ActorId: string(c.Actor), Name: c.Name}
	if c.Kind != dissolved { // it concerns everyone; to name them would send every id to every member
		n.UserIds = idStrings(c.Users)
	}
	return &messagev1.Entry{
		ConversationId: string(chat.GroupConversation(g)), ClientMsgId: c.ID, SenderId: string(c.Actor),
		Kind: messagev1.EntryKind_ENTRY_KIND_NOTICE, Body: &messagev1.Entry_Notice{Notice: n},
	}
}

// place is where a change's notice stands in the log. A change without one has the zero seq and its own time.
type place struct {
	seq, ordinal uint64
	at           time.Time
}

// maxSpans bounds how often the rows of a member remember that it was there. Beyond, the oldest stretch is forgotten:
// the user then sees less of the history than it once could.
const maxSpans = 100

// apply returns g and the rows of the users as they are after the change. It is a pure function and gives the same
// again for rows that it gave already, since a store may have kept the members and not the group.
func (c *change) apply(g store.Group, rows map[chat.UserID]store.Member, p place) (store.Group, []store.Member) {
	g.Pending, g.PendingAt = nil, time.Time{}
	g.NoticeSeq = max(g.NoticeSeq, p.seq)
	var out []store.Member
	edit := func(u chat.UserID, f func(*store.Member)) {
		m := rows[u]
		m.GroupID, m.UserID, m.ChangedAt = g.ID, u, p.at
		f(&m)
		out = append(out, m)
	}
	switch c.Kind {
	case created, joined:
		g.MemberCount += len(c.Users)
		for _, u := range c.Users {
			edit(u, func(m *store.Member) { join(m, g, p, c.Kind == created && u == g.OwnerID) })
		}
	case ended:
		g.MemberCount -= len(c.Users)
		for _, u := range c.Users {
			edit(u, func(m *store.Member) { end(m, p) })
		}
	case dissolved:
		g.MemberCount, g.Dissolved = 0, true
		for _, u := range c.Users {
			edit(u, func(m *store.Member) { end(m, p) })
		}
	case memberEdit:
		edit(c.Users[0], c.Member.set)
	case transferred:
		edit(g.OwnerID, func(m *store.Member) { m.Role = int32(groupv1.Role_ROLE_ADMIN) })
		// Nobody stands above an owner who could end its mute.
		edit(c.Users[0], func(m *store.Member) { m.Role, m.MutedUntil = int32(groupv1.Role_ROLE_OWNER), time.Time{} })
		g.OwnerID = c.Users[0]
	case edited:
		c.Set.set(&g)
	}
	return g, out
}

// join opens a span at p. Whom the group shows its whole history gets what was before as a shown span, so that the last
// span begins at the join notice in either case: there a fresh member's cursor stands.
func join(m *store.Member, g store.Group, p place, owner bool) {
	if n := len(m.Spans); n > 0 && m.Spans[n-1].From == p.seq {
		return // stored by who was here before
	}
	m.Role, m.JoinedAt, m.MutedUntil, m.Nickname = int32(groupv1.Role_ROLE_MEMBER), p.at, time.Time{}, ""
	if owner {
		m.Role = int32(groupv1.Role_ROLE_OWNER)
	}
	var before []store.Span
	spans := m.Spans
	if len(spans) > 0 && shown(spans[0]) {
		before, spans = spans[:1], spans[1:]
	}
	if g.HistoryVisibility == int32(groupv1.HistoryVisibility_HISTORY_VISIBILITY_ALL) && p.seq > 1 {
		before = []store.Span{{From: 1, To: p.seq - 1, ToOrdinal: p.ordinal}}
	}
	if n := len(spans); n >= maxSpans {
		spans = spans[n-maxSpans+1:]
	}
	m.Spans = slices.Concat(before, spans, []store.Span{{From: p.seq, FromOrdinal: p.ordinal}})
}

// shown reports whether sp is history that the user was not there for: it ends at no entry of the user's own. It is
// the first span if there is one, and may overlap the others.
func shown(sp store.Span) bool { return sp.To != 0 && sp.ToAt.IsZero() }

// memberAt reports whether m was a member at seq.
func memberAt(m store.Member, seq uint64) bool {
	return slices.ContainsFunc(m.Spans, func(sp store.Span) bool {
		return !shown(sp) && sp.From <= seq && (sp.To == 0 || seq <= sp.To)
	})
}

// end closes the open span at p.
func end(m *store.Member, p place) {
	m.Role, m.MutedUntil = 0, time.Time{}
	if n := len(m.Spans); n > 0 && m.Spans[n-1].To == 0 {
		m.Spans = slices.Clone(m.Spans)
		last := &m.Spans[n-1]
		last.To, last.ToOrdinal, last.ToAt = p.seq, p.ordinal, p.at
	}
}

func (f *memberFields) set(m *store.Member) {
	setIf(&m.Role, f.Role)
	setIf(&m.MutedUntil, f.MutedUntil)
	setIf(&m.Nickname, f.Nickname)
}

func (f *groupFields) set(g *store.Group) {
	setIf(&g.Name, f.Name)
	setIf(&g.Avatar, f.Avatar)
	setIf(&g.Description, f.Description)
	setIf(&g.JoinMode, f.JoinMode)
	setIf(&g.HistoryVisibility, f.HistoryVisibility)
	setIf(&g.MuteAll, f.MuteAll)
}

func setIf[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}
