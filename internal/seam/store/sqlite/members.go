package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Members implements store.Members. Owner: group.
type Members struct{ db *DB }

var _ store.Members = Members{}

// Members returns the part of db that holds memberships.
func (db *DB) Members() Members { return Members{db} }

const (
	memberColumns = `group_id, user_id, role, muted_until, nickname, joined_at, spans, changed_at`
	queryMembers  = `SELECT ` + memberColumns + ` FROM member
		WHERE group_id = ?1 AND user_id IN (SELECT value FROM json_each(?2))`
	queryPresent = `SELECT ` + memberColumns + ` FROM member WHERE group_id = ?1 AND present = 1
		ORDER BY role DESC, joined_at, user_id LIMIT ?2 OFFSET ?3`
	queryPresentIDs  = `SELECT user_id FROM member WHERE group_id = ?1 AND present = 1`
	queryEver        = `SELECT ` + memberColumns + ` FROM member WHERE group_id = ?1`
	queryMemberships = `SELECT ` + memberColumns + ` FROM member WHERE user_id = ?1`
)

var upsertMembers = newBulk("INSERT OR REPLACE INTO member ("+memberColumns+", present)", 9, "")

func scanMember(r row, m *store.Member) error {
	return r.Scan(&m.GroupID, &m.UserID, &m.Role, stamp{&m.MutedUntil}, &m.Nickname, stamp{&m.JoinedAt},
		jsonText{(*spans)(&m.Spans)}, stamp{&m.ChangedAt})
}

// spans is how spans are stored: each a JSON array of from, to, ordinals and time in ms.
type spans []store.Span

// MarshalJSON implements json.Marshaler.
func (s spans) MarshalJSON() ([]byte, error) {
	rows := make([][5]int64, len(s))
	for i, v := range s {
		rows[i] = [5]int64{count(v.From), count(v.To), count(v.FromOrdinal), count(v.ToOrdinal), millis(v.ToAt)}
	}
	return json.Marshal(rows)
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *spans) UnmarshalJSON(b []byte) error {
	var rows [][5]int64
	if err := json.Unmarshal(b, &rows); err != nil {
		return err
	}
	for _, v := range rows {
		*s = append(*s, store.Span{
			From: uint64(v[0]), To: uint64(v[1]), FromOrdinal: uint64(v[2]), ToOrdinal: uint64(v[3]), ToAt: timeOf(v[4]),
		})
	}
	return nil
}

func (t *tx) putMembers(ms []store.Member) error {
	args := make([]any, 0, len(ms)*upsertMembers.cols)
	for _, m := range ms {
		args = append(args, m.GroupID, m.UserID, m.Role, millis(m.MutedUntil), m.Nickname, millis(m.JoinedAt),
			jsonOf(spans(m.Spans)), millis(m.ChangedAt), m.Present())
	}
	return upsertMembers.insert(t, args)
}

// Get implements store.Members.
func (s Members) Get(ctx context.Context, g chat.GroupID, users []chat.UserID) ([]store.Member, error) {
	if len(users) == 0 {
		return nil, nil
	}
	return s.list(ctx, g, queryMembers, g, jsonOf(users))
}

// Present implements store.Members.
func (s Members) Present(ctx context.Context, g chat.GroupID, offset, limit int) ([]store.Member, error) {
	return s.list(ctx, g, queryPresent, g, max(limit, 0), max(offset, 0))
}

func (s Members) list(ctx context.Context, g chat.GroupID, query string, args ...any) ([]store.Member, error) {
	ms, err := list(ctx, s.db, scanMember, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read members of group %s: %w", g, err)
	}
	return ms, nil
}

// PresentIDs implements store.Members.
func (s Members) PresentIDs(ctx context.Context, g chat.GroupID) ([]chat.UserID, error) {
	ids, err := list(ctx, s.db, scanString[chat.UserID], queryPresentIDs, g)
	if err != nil {
		return nil, fmt.Errorf("list members of group %s: %w", g, err)
	}
	return ids, nil
}

// Ever implements store.Members.
func (s Members) Ever(ctx context.Context, g chat.GroupID) ([]store.Member, error) {
	return s.list(ctx, g, queryEver, g)
}

// OfUser implements store.Members.
func (s Members) OfUser(ctx context.Context, u chat.UserID) ([]store.Member, error) {
	ms, err := list(ctx, s.db, scanMember, queryMemberships, u)
	if err != nil {
		return nil, fmt.Errorf("list memberships of %s: %w", u, err)
	}
	return ms, nil
}
