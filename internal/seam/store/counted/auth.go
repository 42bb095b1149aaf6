package counted

import (
	"context"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

type accounts struct {
	in store.Accounts
	meter
}

// Accounts returns s, counted by m.
func (m *Meter) Accounts(s store.Accounts) store.Accounts { return accounts{s, m.of("accounts")} }

func (w accounts) Create(ctx context.Context, a store.Account, e store.Event) (err error) {
	defer w.done("Create", time.Now(), &err)
	return w.in.Create(ctx, a, e)
}

func (w accounts) ByUsername(ctx context.Context, username string) (_ store.Account, err error) {
	defer w.done("ByUsername", time.Now(), &err)
	return w.in.ByUsername(ctx, username)
}

func (w accounts) ByID(ctx context.Context, id chat.UserID) (_ store.Account, err error) {
	defer w.done("ByID", time.Now(), &err)
	return w.in.ByID(ctx, id)
}

func (w accounts) SetPassword(ctx context.Context, id chat.UserID, old, hash string, e store.Event) (err error) {
	defer w.done("SetPassword", time.Now(), &err)
	return w.in.SetPassword(ctx, id, old, hash, e)
}

type sessions struct {
	in store.Sessions
	meter
}

// Sessions returns s, counted by m.
func (m *Meter) Sessions(s store.Sessions) store.Sessions { return sessions{s, m.of("sessions")} }

func (w sessions) Start(ctx context.Context, s store.Session, e store.Event) (ended []store.Session, err error) {
	defer w.done("Start", time.Now(), &err)
	return w.in.Start(ctx, s, e)
}

func (w sessions) Get(ctx context.Context, ids []chat.SessionID) (_ []store.Session, err error) {
	defer w.listed("Get", len(ids), time.Now(), &err)
	return w.in.Get(ctx, ids)
}

func (w sessions) Rotate(ctx context.Context, id chat.SessionID, from uint64, at, expires time.Time) (_ store.Session, err error) {
	defer w.done("Rotate", time.Now(), &err)
	return w.in.Rotate(ctx, id, from, at, expires)
}

func (w sessions) End(ctx context.Context, u chat.UserID, ids []chat.SessionID, events []store.Event) (ended []store.Session, err error) {
	defer w.listed("End", len(ids), time.Now(), &err)
	return w.in.End(ctx, u, ids, events)
}

func (w sessions) OfUser(ctx context.Context, u chat.UserID) (_ []store.Session, err error) {
	defer w.done("OfUser", time.Now(), &err)
	return w.in.OfUser(ctx, u)
}

type outbox struct {
	in store.Outbox
	meter
}

// Outbox returns s, counted by m.
func (m *Meter) Outbox(s store.Outbox) store.Outbox { return outbox{s, m.of("outbox")} }

func (w outbox) Pending(ctx context.Context, limit int) (_ []store.Event, err error) {
	defer w.done("Pending", time.Now(), &err)
	return w.in.Pending(ctx, limit)
}

func (w outbox) Done(ctx context.Context, ids []string) (err error) {
	defer w.listed("Done", len(ids), time.Now(), &err)
	return w.in.Done(ctx, ids)
}

func (w outbox) Len(ctx context.Context) (_ int, err error) {
	defer w.done("Len", time.Now(), &err)
	return w.in.Len(ctx)
}

type keys struct {
	in store.Keys
	meter
}

// Keys returns s, counted by m.
func (m *Meter) Keys(s store.Keys) store.Keys { return keys{s, m.of("keys")} }

func (w keys) PutIfAbsent(ctx context.Context, name string, value []byte) (_ []byte, err error) {
	defer w.done("PutIfAbsent", time.Now(), &err)
	return w.in.PutIfAbsent(ctx, name, value)
}
