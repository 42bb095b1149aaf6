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
		dissolved, created_at, member_count, notice_seq, version, pending`
	queryGroups     = `SELECT ` + groupColumns + ` FROM chat_group WHERE id IN (SELECT value FROM json_each(?))`
	queryUnfinished = `SELECT id FROM chat_group WHERE pending IS NOT NULL LIMIT ?`
)

func scanGroup(r row, g *store.Group) error {
	return r.Scan(&g.ID, &g.Name, &g.Avatar, &g.Description, &g.Announcement, &g.OwnerID, &g.JoinMode,
		&g.HistoryVisibility, &g.MuteAll, &g.Dissolved, stamp{&g.CreatedAt}, &g.MemberCount, counter{&g.NoticeSeq},
		counter{&g.Version}, &g.Pending)
}

// pending returns a pending change as it is stored: NULL if it is empty.
func pending(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

// Create implements store.Groups.
func (s Groups) Create(ctx context.Context, g store.Group) error {
	return s.write(ctx, "create", g.ID, store.ErrExists, nil, `INSERT INTO chat_group (`+groupColumns+`)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		g.ID, g.Name, g.Avatar, g.Description, g.Announcement, g.OwnerID, g.JoinMode, g.HistoryVisibility, g.MuteAll,
		g.Dissolved, millis(g.CreatedAt), g.MemberCount, count(g.NoticeSeq), count(g.Version), pending(g.Pending))
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
func (s Groups) Begin(ctx context.Context, id chat.GroupID, version uint64, change []byte) error {
	return s.write(ctx, "begin change of", id, store.ErrConflict, nil,
		`UPDATE chat_group SET pending = ? WHERE id = ? AND version = ? AND pending IS NULL`,
		pending(change), id, count(version))
}

// Commit implements store.Groups; on a conflict it stores nothing.
func (s Groups) Commit(ctx context.Context, g store.Group, members []store.Member) error {
	return s.write(ctx, "commit change of", g.ID, store.ErrConflict, members, `UPDATE chat_group SET name = ?,
		avatar = ?, description = ?, announcement = ?, owner_id = ?, join_mode = ?, history_visibility = ?, mute_all = ?,
		dissolved = ?, created_at = ?, member_count = ?, notice_seq = ?, version = version + 1, pending = NULL
		WHERE id = ? AND version = ?`, g.Name, g.Avatar, g.Description, g.Announcement, g.OwnerID, g.JoinMode,
		g.HistoryVisibility, g.MuteAll, g.Dissolved, millis(g.CreatedAt), g.MemberCount, count(g.NoticeSeq), g.ID,
		count(g.Version))
}

// write runs a statement that changes one group, returns none if it changed nothing, and stores members.
func (s Groups) write(ctx context.Context, verb string, id chat.GroupID, none error, members []store.Member,
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
		return t.putMembers(members)
	})
	if err != nil {
		return fmt.Errorf("%s group %s: %w", verb, id, err)
	}
	return nil
}

// Unfinished implements store.Groups.
func (s Groups) Unfinished(ctx context.Context, limit int) ([]chat.GroupID, error) {
	ids, err := list(ctx, s.db, scanString[chat.GroupID], queryUnfinished, max(limit, 0))
	if err != nil {
		return nil, fmt.Errorf("list unfinished groups: %w", err)
	}
	return ids, nil
}
