package sqlite

import (
	"context"
	"fmt"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Groups implements store.Groups. Owner: group.
type Groups struct{ db *DB }

var _ store.Groups = Groups{}

// Groups returns the part of db that holds groups.
func (db *DB) Groups() Groups { return Groups{db} }

const (
	groupColumns = `id, name, avatar, description, announcement, owner_id, join_mode, history_visibility, mute_all,
		dissolved, created_at, member_count, notice_seq, version, pending, pending_at`
	queryGroups     = `SELECT ` + groupColumns + ` FROM chat_group WHERE id IN (SELECT value FROM json_each(?))`
	queryUnfinished = `SELECT pending_at, id FROM chat_group WHERE pending IS NOT NULL AND (pending_at, id) > (?1, ?2)
		ORDER BY pending_at, id LIMIT ?3`
	// The index of pending groups holds next to nothing, so each of a user's groups is looked up in it at little cost.
	queryUnfinishedOf = `SELECT group_id FROM pending_user WHERE user_id = ?1
		UNION ALL SELECT m.group_id FROM member m CROSS JOIN chat_group g INDEXED BY chat_group_pending
		ON g.id = m.group_id AND g.pending IS NOT NULL WHERE m.user_id = ?1
		AND NOT EXISTS (SELECT 1 FROM pending_user p WHERE p.user_id = ?1 AND p.group_id = m.group_id)`
)

var insertPendingUsers = newBulk("INSERT INTO pending_user (user_id, group_id)", 2, "")

func scanGroup(r row, g *store.Group) error {
	return r.Scan(&g.ID, &g.Name, &g.Avatar, &g.Description, &g.Announcement, &g.OwnerID, &g.JoinMode,
		&g.HistoryVisibility, &g.MuteAll, &g.Dissolved, stamp{&g.CreatedAt}, &g.MemberCount, counter{&g.NoticeSeq},
		counter{&g.Version}, &g.Pending, stamp{&g.PendingAt})
}

// Create implements store.Groups.
func (s Groups) Create(ctx context.Context, g store.Group, c store.Change) error {
	return s.write(ctx, "create", g.ID, store.ErrExists, func(t *tx) error { return t.putPendingUsers(g.ID, c.Users) },
		`INSERT INTO chat_group (`+groupColumns+`)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		g.ID, g.Name, g.Avatar, g.Description, g.Announcement, g.OwnerID, g.JoinMode, g.HistoryVisibility, g.MuteAll,
		g.Dissolved, millis(g.CreatedAt), g.MemberCount, count(g.NoticeSeq), count(g.Version), blob(c.Data), millis(c.At))
}

func (t *tx) putPendingUsers(id chat.GroupID, users []chat.UserID) error {
	args := make([]any, 0, len(users)*insertPendingUsers.cols)
	for _, u := range users {
		args = append(args, u, id)
	}
	return insertPendingUsers.insert(t, args)
}

// Get implements store.Groups.
func (s Groups) Get(ctx context.Context, ids []chat.GroupID) ([]store.Group, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	gs, err := list(ctx, s.db, scanGroup, queryGroups, jsonOf(ids))
	if err != nil {
		return nil, fmt.Errorf("read %d groups: %w", len(ids), err)
	}
	return gs, nil
}

// Begin implements store.Groups.
func (s Groups) Begin(ctx context.Context, id chat.GroupID, version uint64, c store.Change) error {
	return s.write(ctx, "begin change of", id, store.ErrConflict, func(t *tx) error { return t.putPendingUsers(id, c.Users) },
		`UPDATE chat_group SET pending = ?, pending_at = ? WHERE id = ? AND version = ? AND pending IS NULL`,
		blob(c.Data), millis(c.At), id, count(version))
}

// Commit implements store.Groups; on a conflict it stores nothing.
func (s Groups) Commit(ctx context.Context, g store.Group, members []store.Member) error {
	then := func(t *tx) error {
		if _, err := t.exec(`DELETE FROM pending_user WHERE group_id = ?`, g.ID); err != nil {
			return err
		}
		return t.putMembers(members)
	}
	return s.write(ctx, "commit change of", g.ID, store.ErrConflict, then, `UPDATE chat_group SET name = ?,
		avatar = ?, description = ?, announcement = ?, owner_id = ?, join_mode = ?, history_visibility = ?, mute_all = ?,
		dissolved = ?, created_at = ?, member_count = ?, notice_seq = ?, version = version + 1, pending = NULL, pending_at = 0
		WHERE id = ? AND version = ?`, g.Name, g.Avatar, g.Description, g.Announcement, g.OwnerID, g.JoinMode,
		g.HistoryVisibility, g.MuteAll, g.Dissolved, millis(g.CreatedAt), g.MemberCount, count(g.NoticeSeq), g.ID,
		count(g.Version))
}

// write runs a statement that changes one group, returns none if it changed nothing, and else does then.
func (s Groups) write(ctx context.Context, verb string, id chat.GroupID, none error, then func(*tx) error,
	query string, args ...any,
) error {
	err := s.db.w.write(ctx, func(t *tx) error {
		n, err := t.exec(query, args...)
		if err != nil {
			return err
		}
		if n == 0 {
			return none
		}
		return then(t)
	})
	if err != nil {
		return fmt.Errorf("%s group %s: %w", verb, id, err)
	}
	return nil
}

// Unfinished implements store.Groups.
func (s Groups) Unfinished(ctx context.Context, after store.Begun, limit int) ([]store.Begun, error) {
	bs, err := list(ctx, s.db, func(r row, b *store.Begun) error { return r.Scan(stamp{&b.At}, &b.GroupID) },
		queryUnfinished, millis(after.At), after.GroupID, max(limit, 0))
	if err != nil {
		return nil, fmt.Errorf("list unfinished groups: %w", err)
	}
	return bs, nil
}

// UnfinishedOf implements store.Groups.
func (s Groups) UnfinishedOf(ctx context.Context, u chat.UserID) ([]chat.GroupID, error) {
	ids, err := list(ctx, s.db, scanString[chat.GroupID], queryUnfinishedOf, u)
	if err != nil {
		return nil, fmt.Errorf("list unfinished groups of %s: %w", u, err)
	}
	return ids, nil
}
