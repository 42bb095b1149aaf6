package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Sessions implements store.Sessions. Owner: auth.
type Sessions struct{ db *DB }

var _ store.Sessions = Sessions{}

// Sessions returns the part of db that says who is logged in.
func (db *DB) Sessions() Sessions { return Sessions{db} }

const (
	sessionColumns = `id, user_id, device_id, platform, generation, created_at, refreshed_at, expires_at`
	querySessions  = `SELECT ` + sessionColumns + ` FROM session
		WHERE id IN (SELECT value FROM json_each(?1)) AND expires_at > ?2`
	querySessionsOf = `SELECT ` + sessionColumns + ` FROM session WHERE user_id = ?1 AND expires_at > ?2
		ORDER BY created_at DESC, id DESC`
	querySession = `SELECT ` + sessionColumns + ` FROM session WHERE id = ?1`
	queryDevice  = `SELECT ` + sessionColumns + ` FROM session WHERE user_id = ?1 AND device_id = ?2`
)

func scanSession(r row, s *store.Session) error {
	return r.Scan(&s.ID, &s.UserID, &s.DeviceID, &s.Platform, counter{&s.Generation}, stamp{&s.CreatedAt},
		stamp{&s.RefreshedAt}, stamp{&s.ExpiresAt})
}

func isOpen(s store.Session) bool { return millis(s.ExpiresAt) > millis(time.Now()) }

// Start implements store.Sessions. It also forgets the user's lapsed sessions, so that they do not pile up.
func (s Sessions) Start(ctx context.Context, se store.Session, e store.Event) (ended []store.Session, err error) {
	err = s.db.w.write(ctx, func(t *tx) (err error) {
		ended, err = t.startSession(se, e)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start session %s: %w", se.ID, err)
	}
	return ended, nil
}

func (t *tx) startSession(se store.Session, e store.Event) (ended []store.Session, err error) {
	ctx := context.Background()
	if _, err := one(ctx, t, scanSession, querySession, se.ID); !errors.Is(err, store.ErrNotFound) {
		if err == nil {
			err = store.ErrExists
		}
		return nil, err
	}
	if _, err := t.exec(`DELETE FROM session WHERE user_id = ? AND expires_at <= ?`, se.UserID, millis(time.Now())); err != nil {
		return nil, err
	}
	if ended, err = list(ctx, t, scanSession, queryDevice, se.UserID, se.DeviceID); err != nil {
		return nil, err
	}
	if _, err := t.exec(`DELETE FROM session WHERE user_id = ? AND device_id = ?`, se.UserID, se.DeviceID); err != nil {
		return nil, err
	}
	if _, err := t.exec(`INSERT INTO session (`+sessionColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, se.ID, se.UserID,
		se.DeviceID, se.Platform, count(se.Generation), millis(se.CreatedAt), millis(se.RefreshedAt), millis(se.ExpiresAt)); err != nil {
		return nil, err
	}
	return ended, t.addEvent(e)
}

// Get implements store.Sessions.
func (s Sessions) Get(ctx context.Context, ids []chat.SessionID) ([]store.Session, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	all, err := list(ctx, s.db, scanSession, querySessions, jsonOf(ids), millis(time.Now()))
	if err != nil {
		return nil, fmt.Errorf("read %d sessions: %w", len(ids), err)
	}
	return all, nil
}

// Rotate implements store.Sessions.
func (s Sessions) Rotate(ctx context.Context, id chat.SessionID, from uint64, at, expires time.Time) (se store.Session, err error) {
	err = s.db.w.write(ctx, func(t *tx) (err error) {
		se, err = one(ctx, t, scanSession, querySession, id)
		switch {
		case err != nil:
			return err
		case !isOpen(se):
			return store.ErrNotFound
		case se.Generation != from:
			return store.ErrConflict
		}
		se.Generation, se.RefreshedAt, se.ExpiresAt = from+1, timeOf(millis(at)), timeOf(millis(expires))
		_, err = t.exec(`UPDATE session SET generation = ?, refreshed_at = ?, expires_at = ? WHERE id = ?`,
			count(se.Generation), millis(at), millis(expires), id)
		return err
	})
	if err != nil {
		return store.Session{}, fmt.Errorf("rotate session %s: %w", id, err)
	}
	return se, nil
}

// End implements store.Sessions.
func (s Sessions) End(ctx context.Context, u chat.UserID, ids []chat.SessionID, events []store.Event) (ended []store.Session, err error) {
	if len(events) != len(ids) {
		return nil, fmt.Errorf("end sessions of %s: %d events for %d sessions", u, len(events), len(ids))
	}
	if len(ids) == 0 {
		return nil, nil
	}
	err = s.db.w.write(ctx, func(t *tx) error {
		for i, id := range ids {
			se, err := one(ctx, t, scanSession, `DELETE FROM session WHERE id = ? AND user_id = ? RETURNING `+sessionColumns, id, u)
			if errors.Is(err, store.ErrNotFound) || err == nil && !isOpen(se) {
				continue
			}
			if err != nil {
				return err
			}
			ended = append(ended, se)
			if err := t.addEvent(events[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("end sessions of %s: %w", u, err)
	}
	return ended, nil
}

// OfUser implements store.Sessions.
func (s Sessions) OfUser(ctx context.Context, u chat.UserID) ([]store.Session, error) {
	all, err := list(ctx, s.db, scanSession, querySessionsOf, u, millis(time.Now()))
	if err != nil {
		return nil, fmt.Errorf("list sessions of %s: %w", u, err)
	}
	return all, nil
}
