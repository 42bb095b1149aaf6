package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// PushTokens implements store.PushTokens. Owner: pusher-offline.
type PushTokens struct{ db *DB }

var _ store.PushTokens = PushTokens{}

// PushTokens returns the part of db that holds devices' addresses at vendors.
func (db *DB) PushTokens() PushTokens { return PushTokens{db} }

const (
	addressColumns = `user_id, device_id, provider, token, app_id, environment, language, registered_at, session_id`
	queryTokens    = `SELECT ` + addressColumns + ` FROM push_token WHERE user_id IN (SELECT value FROM json_each(?))`
)

// Put implements store.PushTokens.
func (p PushTokens) Put(ctx context.Context, pt store.PushToken) error {
	err := p.db.w.write(ctx, func(t *tx) error {
		// REPLACE removes both the device's older token and another device's row with this token.
		_, err := t.exec(`INSERT OR REPLACE INTO push_token (`+addressColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			pt.UserID, pt.DeviceID, pt.Provider, pt.Token, pt.AppID, pt.Environment, pt.Language, millis(pt.RegisteredAt), pt.SessionID)
		return err
	})
	if err != nil {
		return fmt.Errorf("put push token of %s, device %s: %w", pt.UserID, pt.DeviceID, err)
	}
	return nil
}

// Delete implements store.PushTokens.
func (p PushTokens) Delete(ctx context.Context, u chat.UserID, d chat.DeviceID, before time.Time) error {
	err := p.db.w.write(ctx, func(t *tx) error {
		_, err := t.exec(`DELETE FROM push_token WHERE user_id = ? AND device_id = ? AND registered_at <= ?`, u, d, millis(before))
		return err
	})
	if err != nil {
		return fmt.Errorf("delete push tokens of %s, device %s: %w", u, d, err)
	}
	return nil
}

// EndSession implements store.PushTokens.
func (p PushTokens) EndSession(ctx context.Context, u chat.UserID, d chat.DeviceID, s chat.SessionID, before time.Time) error {
	err := p.db.w.write(ctx, func(t *tx) error {
		_, err := t.exec(`DELETE FROM push_token WHERE user_id = ? AND device_id = ?
			AND iif(session_id <> '', session_id = ?, registered_at <= ?)`, u, d, s, millis(before))
		return err
	})
	if err != nil {
		return fmt.Errorf("delete push tokens of session %s of %s: %w", s, u, err)
	}
	return nil
}

// OfUsers implements store.PushTokens.
func (p PushTokens) OfUsers(ctx context.Context, users []chat.UserID) ([]store.PushToken, error) {
	if len(users) == 0 {
		return nil, nil
	}
	ts, err := list(ctx, p.db, func(r row, t *store.PushToken) error {
		return r.Scan(&t.UserID, &t.DeviceID, &t.Provider, &t.Token, &t.AppID, &t.Environment, &t.Language,
			stamp{&t.RegisteredAt}, &t.SessionID)
	}, queryTokens, jsonOf(users))
	if err != nil {
		return nil, fmt.Errorf("read push tokens of %d users: %w", len(users), err)
	}
	return ts, nil
}
