package sqlite

import (
	"context"
	"fmt"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Accounts implements store.Accounts. Owner: auth.
type Accounts struct{ db *DB }

// Outbox implements store.Outbox. Owner: auth.
type Outbox struct{ db *DB }

// Keys implements store.Keys. Owner: auth.
type Keys struct{ db *DB }

var (
	_ store.Accounts = Accounts{}
	_ store.Outbox   = Outbox{}
	_ store.Keys     = Keys{}
)

// Accounts returns the part of db that holds credentials.
func (db *DB) Accounts() Accounts { return Accounts{db} }

// Outbox returns the part of db that holds events to publish.
func (db *DB) Outbox() Outbox { return Outbox{db} }

// Keys returns the part of db that holds generated secrets.
func (db *DB) Keys() Keys { return Keys{db} }

// Create implements store.Accounts.
func (a Accounts) Create(ctx context.Context, acc store.Account, e store.Event) error {
	err := a.db.w.write(ctx, func(t *tx) error {
		n, err := t.exec(`INSERT INTO account (user_id, username, password_hash, created_at) VALUES (?, ?, ?, ?)
			ON CONFLICT DO NOTHING`, acc.UserID, acc.Username, acc.PasswordHash, millis(acc.CreatedAt))
		if err != nil {
			return err
		}
		if n == 0 {
			return store.ErrExists
		}
		return t.addEvent(e)
	})
	if err != nil {
		return fmt.Errorf("create account %s: %w", acc.UserID, err)
	}
	return nil
}

const (
	accountColumns  = `user_id, username, password_hash, created_at`
	queryByUsername = `SELECT ` + accountColumns + ` FROM account WHERE username = ?`
	queryByUserID   = `SELECT ` + accountColumns + ` FROM account WHERE user_id = ?`
)

func scanAccount(r row, a *store.Account) error {
	return r.Scan(&a.UserID, &a.Username, &a.PasswordHash, stamp{&a.CreatedAt})
}

// ByUsername implements store.Accounts.
func (a Accounts) ByUsername(ctx context.Context, username string) (store.Account, error) {
	acc, err := one(ctx, a.db, scanAccount, queryByUsername, username)
	if err != nil {
		return store.Account{}, fmt.Errorf("look up account by username: %w", err)
	}
	return acc, nil
}

// ByID implements store.Accounts.
func (a Accounts) ByID(ctx context.Context, id chat.UserID) (store.Account, error) {
	acc, err := one(ctx, a.db, scanAccount, queryByUserID, id)
	if err != nil {
		return store.Account{}, fmt.Errorf("look up account %s: %w", id, err)
	}
	return acc, nil
}

// SetPassword implements store.Accounts.
func (a Accounts) SetPassword(ctx context.Context, id chat.UserID, old, hash string, e store.Event) error {
	err := a.db.w.write(ctx, func(t *tx) error {
		n, err := t.exec(`UPDATE account SET password_hash = ? WHERE user_id = ? AND password_hash = ?`, hash, id, old)
		if err != nil {
			return err
		}
		if n == 0 {
			return store.ErrConflict
		}
		return t.addEvent(e)
	})
	if err != nil {
		return fmt.Errorf("set password of %s: %w", id, err)
	}
	return nil
}

// addEvent stores an event with the change under way; the zero Event is none, and one with a stored id is there already.
func (t *tx) addEvent(e store.Event) error {
	if e.ID == "" {
		return nil
	}
	_, err := t.exec(`INSERT INTO outbox (id, subject, data) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
		e.ID, e.Subject, blob(e.Data))
	return err
}

const (
	queryOutbox = `SELECT id, subject, data FROM outbox ORDER BY n LIMIT ?`
	// queryWaiting takes two look-ups: events leave from the front, so their numbers have next to no gaps.
	queryWaiting = `SELECT CASE WHEN EXISTS (SELECT 1 FROM outbox) THEN
		(SELECT max(n) FROM outbox) - (SELECT min(n) FROM outbox) + 1 ELSE 0 END`
)

// Pending implements store.Outbox.
func (o Outbox) Pending(ctx context.Context, limit int) ([]store.Event, error) {
	es, err := list(ctx, o.db, func(r row, e *store.Event) error { return r.Scan(&e.ID, &e.Subject, &e.Data) },
		queryOutbox, max(limit, 0))
	if err != nil {
		return nil, fmt.Errorf("read outbox: %w", err)
	}
	return es, nil
}

// Len implements store.Outbox.
func (o Outbox) Len(ctx context.Context) (int, error) {
	n, err := one(ctx, o.db, scanCount, queryWaiting)
	if err != nil {
		return 0, fmt.Errorf("count outbox: %w", err)
	}
	return int(n), nil
}

// Done implements store.Outbox.
func (o Outbox) Done(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	err := o.db.w.write(ctx, func(t *tx) error {
		_, err := t.exec(`DELETE FROM outbox WHERE id IN (SELECT value FROM json_each(?))`, jsonOf(ids))
		return err
	})
	if err != nil {
		return fmt.Errorf("forget %d events: %w", len(ids), err)
	}
	return nil
}

const queryKept = `SELECT value FROM secret WHERE name = ?`

// PutIfAbsent implements store.Keys.
func (k Keys) PutIfAbsent(ctx context.Context, name string, value []byte) (kept []byte, err error) {
	err = k.db.w.write(ctx, func(t *tx) (err error) {
		if _, err = t.exec(`INSERT INTO secret (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING`, name, blob(value)); err != nil {
			return err
		}
		kept, err = one(ctx, t, scanBytes, queryKept, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("put key %s: %w", name, err)
	}
	return kept, nil
}
