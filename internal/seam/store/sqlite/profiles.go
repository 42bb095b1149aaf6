package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Profiles implements store.Profiles. Owner: user.
type Profiles struct{ db *DB }

var _ store.Profiles = Profiles{}

// Profiles returns the part of db that holds users.
func (db *DB) Profiles() Profiles { return Profiles{db} }

const (
	profileColumns = `user_id, username, nickname, avatar, bio, who_may_find, who_may_add, who_may_write, last_seen,
		push_preview`
	queryProfiles = `SELECT ` + profileColumns + ` FROM profile WHERE user_id IN (SELECT value FROM json_each(?))`
	queryProfile  = `SELECT ` + profileColumns + ` FROM profile WHERE user_id = ?`
	queryUsername = `SELECT ` + profileColumns + ` FROM profile WHERE username = ?`
	// 1 is userv1.AUDIENCE_EVERYONE, what is below it, unspecified, means the same; 2 is AUDIENCE_FRIENDS.
	queryNicknames = `SELECT ` + profileColumns + ` FROM profile WHERE nickname_key = ?1 AND user_id > ?2
		AND (who_may_find <= 1 OR who_may_find = 2 AND user_id IN (SELECT value FROM json_each(?3)))
		ORDER BY user_id LIMIT ?4`
)

func scanProfile(r row, p *store.Profile) error {
	return r.Scan(&p.UserID, &p.Username, &p.Nickname, &p.Avatar, &p.Bio, &p.WhoMayFind, &p.WhoMayAdd, &p.WhoMayWrite,
		&p.LastSeen, &p.PushPreview)
}

// Create implements store.Profiles.
func (s Profiles) Create(ctx context.Context, p store.Profile) error {
	err := s.db.w.write(ctx, func(t *tx) error {
		n, err := t.exec(`INSERT INTO profile (`+profileColumns+`, nickname_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO NOTHING`, p.UserID, p.Username, p.Nickname, p.Avatar, p.Bio, p.WhoMayFind, p.WhoMayAdd,
			p.WhoMayWrite, p.LastSeen, p.PushPreview, strings.ToLower(p.Nickname))
		if err != nil || n > 0 {
			return err
		}
		_, err = one(ctx, t, scanProfile, queryProfile, p.UserID)
		if errors.Is(err, store.ErrNotFound) {
			return store.ErrExists // so the username is another's
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("create profile %s: %w", p.UserID, err)
	}
	return nil
}

// Get implements store.Profiles.
func (s Profiles) Get(ctx context.Context, ids []chat.UserID) ([]store.Profile, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	ps, err := list(ctx, s.db, scanProfile, queryProfiles, jsonOf(ids))
	if err != nil {
		return nil, fmt.Errorf("read %d profiles: %w", len(ids), err)
	}
	return ps, nil
}

// ByUsername implements store.Profiles.
func (s Profiles) ByUsername(ctx context.Context, username string) (store.Profile, error) {
	p, err := one(ctx, s.db, scanProfile, queryUsername, username)
	if err != nil {
		return store.Profile{}, fmt.Errorf("look up profile by username: %w", err)
	}
	return p, nil
}

// ByNickname implements store.Profiles.
func (s Profiles) ByNickname(ctx context.Context, nickname string, friends []chat.UserID, after chat.UserID, limit int) ([]store.Profile, error) {
	ps, err := list(ctx, s.db, scanProfile, queryNicknames, strings.ToLower(nickname), after, jsonOf(friends), max(limit, 0))
	if err != nil {
		return nil, fmt.Errorf("look up profiles by nickname: %w", err)
	}
	return ps, nil
}

// Update implements store.Profiles. change runs in the writer's goroutine.
func (s Profiles) Update(ctx context.Context, id chat.UserID, change func(*store.Profile) error) (p store.Profile, err error) {
	var refused error
	err = s.db.w.write(ctx, func(t *tx) (err error) {
		if p, err = one(ctx, t, scanProfile, queryProfile, id); err != nil {
			return err
		}
		username := p.Username
		if refused = change(&p); refused != nil {
			return refused
		}
		p.UserID, p.Username = id, username
		_, err = t.exec(`UPDATE profile SET nickname = ?, avatar = ?, bio = ?, who_may_find = ?, who_may_add = ?,
			who_may_write = ?, last_seen = ?, push_preview = ?, nickname_key = ? WHERE user_id = ?`,
			p.Nickname, p.Avatar, p.Bio, p.WhoMayFind, p.WhoMayAdd, p.WhoMayWrite, p.LastSeen, p.PushPreview,
			strings.ToLower(p.Nickname), id)
		return err
	})
	switch {
	case refused != nil:
		return store.Profile{}, refused
	case err != nil:
		return store.Profile{}, fmt.Errorf("update profile %s: %w", id, err)
	}
	return p, nil
}
