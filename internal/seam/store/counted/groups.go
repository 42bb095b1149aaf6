package counted

import (
	"context"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

type groups struct {
	in store.Groups
	meter
}

// Groups returns s, counted by m.
func (m *Meter) Groups(s store.Groups) store.Groups { return groups{s, m.of("groups")} }

func (w groups) Create(ctx context.Context, g store.Group, c store.Change) (err error) {
	defer w.done("Create", time.Now(), &err)
	return w.in.Create(ctx, g, c)
}

func (w groups) Get(ctx context.Context, ids []chat.GroupID) (_ []store.Group, err error) {
	defer w.listed("Get", len(ids), time.Now(), &err)
	return w.in.Get(ctx, ids)
}

func (w groups) Begin(ctx context.Context, id chat.GroupID, version uint64, c store.Change) (err error) {
	defer w.done("Begin", time.Now(), &err)
	return w.in.Begin(ctx, id, version, c)
}

func (w groups) Commit(ctx context.Context, g store.Group, members []store.Member) (err error) {
	defer w.done("Commit", time.Now(), &err)
	return w.in.Commit(ctx, g, members)
}

func (w groups) Unfinished(ctx context.Context, after store.Begun, limit int) (_ []store.Begun, err error) {
	defer w.done("Unfinished", time.Now(), &err)
	return w.in.Unfinished(ctx, after, limit)
}

func (w groups) UnfinishedOf(ctx context.Context, u chat.UserID) (_ []chat.GroupID, err error) {
	defer w.done("UnfinishedOf", time.Now(), &err)
	return w.in.UnfinishedOf(ctx, u)
}

type members struct {
	in store.Members
	meter
}

// Members returns s, counted by m.
func (m *Meter) Members(s store.Members) store.Members { return members{s, m.of("members")} }

func (w members) Get(ctx context.Context, g chat.GroupID, users []chat.UserID) (_ []store.Member, err error) {
	defer w.listed("Get", len(users), time.Now(), &err)
	return w.in.Get(ctx, g, users)
}

func (w members) Present(ctx context.Context, g chat.GroupID, offset, limit int) (_ []store.Member, err error) {
	defer w.done("Present", time.Now(), &err)
	return w.in.Present(ctx, g, offset, limit)
}

func (w members) PresentIDs(ctx context.Context, g chat.GroupID) (_ []chat.UserID, err error) {
	defer w.done("PresentIDs", time.Now(), &err)
	return w.in.PresentIDs(ctx, g)
}

func (w members) Ever(ctx context.Context, g chat.GroupID) (_ []store.Member, err error) {
	defer w.done("Ever", time.Now(), &err)
	return w.in.Ever(ctx, g)
}

func (w members) OfUser(ctx context.Context, u chat.UserID) (_ []store.Member, err error) {
	defer w.done("OfUser", time.Now(), &err)
	return w.in.OfUser(ctx, u)
}
