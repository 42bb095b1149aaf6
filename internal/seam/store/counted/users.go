package counted

import (
	"context"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

type profiles struct {
	in store.Profiles
	meter
}

// Profiles returns s, counted by m.
func (m *Meter) Profiles(s store.Profiles) store.Profiles { return profiles{s, m.of("profiles")} }

func (w profiles) Create(ctx context.Context, p store.Profile) (err error) {
	defer w.done("Create", time.Now(), &err)
	return w.in.Create(ctx, p)
}

func (w profiles) Get(ctx context.Context, ids []chat.UserID) (_ []store.Profile, err error) {
	defer w.listed("Get", len(ids), time.Now(), &err)
	return w.in.Get(ctx, ids)
}

func (w profiles) ByUsername(ctx context.Context, username string) (_ store.Profile, err error) {
	defer w.done("ByUsername", time.Now(), &err)
	return w.in.ByUsername(ctx, username)
}

func (w profiles) ByNickname(ctx context.Context, nickname string, friends []chat.UserID, after chat.UserID, limit int) (_ []store.Profile, err error) {
	defer w.done("ByNickname", time.Now(), &err)
	return w.in.ByNickname(ctx, nickname, friends, after, limit)
}

func (w profiles) Update(ctx context.Context, id chat.UserID, change func(*store.Profile) error) (_ store.Profile, err error) {
	defer w.done("Update", time.Now(), &err)
	return w.in.Update(ctx, id, change)
}

type relations struct {
	in store.Relations
	meter
}

// Relations returns s, counted by m.
func (m *Meter) Relations(s store.Relations) store.Relations { return relations{s, m.of("relations")} }

func (w relations) Get(ctx context.Context, a, b chat.UserID) (ab, ba store.Relation, err error) {
	defer w.done("Get", time.Now(), &err)
	return w.in.Get(ctx, a, b)
}

func (w relations) Update(ctx context.Context, a, b chat.UserID, change func(ab, ba *store.Relation) error) (_ store.Relation, _ store.Relation, err error) {
	defer w.done("Update", time.Now(), &err)
	return w.in.Update(ctx, a, b, change)
}

func (w relations) List(ctx context.Context, u chat.UserID, kind store.RelationKind, cursor string, limit int) (rs []store.Relation, next string, err error) {
	defer w.done("List", time.Now(), &err)
	return w.in.List(ctx, u, kind, cursor, limit)
}

func (w relations) FriendIDs(ctx context.Context, u chat.UserID) (_ []chat.UserID, err error) {
	defer w.done("FriendIDs", time.Now(), &err)
	return w.in.FriendIDs(ctx, u)
}

func (w relations) Pending(ctx context.Context, after string, limit int) (_ []store.Relation, err error) {
	defer w.done("Pending", time.Now(), &err)
	return w.in.Pending(ctx, after, limit)
}

type pushTokens struct {
	in store.PushTokens
	meter
}

// PushTokens returns s, counted by m.
func (m *Meter) PushTokens(s store.PushTokens) store.PushTokens {
	return pushTokens{s, m.of("push_tokens")}
}

func (w pushTokens) Put(ctx context.Context, t store.PushToken) (err error) {
	defer w.done("Put", time.Now(), &err)
	return w.in.Put(ctx, t)
}

func (w pushTokens) Delete(ctx context.Context, u chat.UserID, d chat.DeviceID, before time.Time) (err error) {
	defer w.done("Delete", time.Now(), &err)
	return w.in.Delete(ctx, u, d, before)
}

func (w pushTokens) EndSession(ctx context.Context, u chat.UserID, d chat.DeviceID, s chat.SessionID, before time.Time) (err error) {
	defer w.done("EndSession", time.Now(), &err)
	return w.in.EndSession(ctx, u, d, s, before)
}

func (w pushTokens) OfUsers(ctx context.Context, users []chat.UserID) (_ []store.PushToken, err error) {
	defer w.listed("OfUsers", len(users), time.Now(), &err)
	return w.in.OfUsers(ctx, users)
}
