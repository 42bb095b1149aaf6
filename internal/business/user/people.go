package user

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// people is the profiles, with the settings of each in the cache.
type people struct {
	store  store.Profiles
	cached *cached
}

func settingsKey(u chat.UserID) string { return "user:settings:" + string(u) }

// one returns a profile, or NOT_FOUND.
func (p *people) one(ctx context.Context, id chat.UserID) (store.Profile, error) {
	found, err := p.store.Get(ctx, []chat.UserID{id})
	if err != nil {
		return store.Profile{}, fmt.Errorf("load user %s: %w", id, err)
	}
	if len(found) == 0 {
		return store.Profile{}, notFound(id)
	}
	return found[0], nil
}

// many returns the users that exist, by id.
func (p *people) many(ctx context.Context, ids []chat.UserID) (map[chat.UserID]*userv1.User, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	found, err := p.store.Get(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("load %d users: %w", len(ids), err)
	}
	users := make(map[chat.UserID]*userv1.User, len(found))
	for _, f := range found {
		users[f.UserID] = public(f)
	}
	return users, nil
}

// settings returns a user's settings, from the cache where it can; found is false for a user that does not exist, whose
// settings are the defaults.
func (p *people) settings(ctx context.Context, id chat.UserID) (*userv1.Settings, bool, error) {
	s := &userv1.Settings{}
	found, err := p.cached.get(ctx, settingsKey(id), s, func(ctx context.Context) (bool, error) {
		found, err := p.store.Get(ctx, []chat.UserID{id})
		if err != nil || len(found) == 0 {
			return false, err
		}
		proto.Merge(s, settings(found[0]))
		return true, nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("load settings of user %s: %w", id, err)
	}
	if !found {
		s = settings(defaults())
	}
	return s, found, nil
}

// update changes a profile and drops what was cached of it, also when nothing changed: an earlier attempt may have
// been cut off before its drop.
func (p *people) update(ctx context.Context, id chat.UserID, change func(*store.Profile) error) (store.Profile, error) {
	after, err := p.store.Update(ctx, id, change)
	if errors.Is(err, store.ErrNotFound) {
		return store.Profile{}, notFound(id)
	}
	if dropped := p.cached.drop(ctx, settingsKey(id)); err == nil {
		err = dropped
	}
	return after, err
}

// create stores a profile with default settings; one that exists stays as it is.
func (p *people) create(ctx context.Context, u *userv1.User) error {
	d := defaults()
	d.UserID, d.Username = chat.UserID(u.GetUserId()), u.GetUsername()
	d.Nickname, d.Avatar, d.Bio = u.GetNickname(), u.GetAvatar(), u.GetBio()
	if d.Nickname == "" {
		d.Nickname = d.Username
	}
	err := p.store.Create(ctx, d)
	if errors.Is(err, store.ErrExists) {
		return fault.Wrap(err, fault.UsernameTaken, "another user has this username")
	}
	if err != nil {
		return fmt.Errorf("create profile of user %s: %w", d.UserID, err)
	}
	return p.cached.drop(ctx, settingsKey(d.UserID))
}

// defaults is a profile with the settings of somebody who chose nothing.
func defaults() store.Profile {
	return store.Profile{
		WhoMayFind:  int32(userv1.Audience_AUDIENCE_EVERYONE),
		WhoMayAdd:   int32(userv1.Audience_AUDIENCE_EVERYONE),
		WhoMayWrite: int32(userv1.Audience_AUDIENCE_EVERYONE),
		LastSeen:    int32(userv1.Audience_AUDIENCE_FRIENDS),
		PushPreview: int32(userv1.PushPreview_PUSH_PREVIEW_ALL),
	}
}

// public is what others may see of a profile.
func public(p store.Profile) *userv1.User {
	return &userv1.User{UserId: string(p.UserID), Username: p.Username, Nickname: p.Nickname, Avatar: p.Avatar, Bio: p.Bio}
}

func settings(p store.Profile) *userv1.Settings {
	return &userv1.Settings{
		WhoMayFind:  userv1.Audience(p.WhoMayFind),
		WhoMayAdd:   userv1.Audience(p.WhoMayAdd),
		WhoMayWrite: userv1.Audience(p.WhoMayWrite),
		LastSeen:    userv1.Audience(p.LastSeen),
		PushPreview: userv1.PushPreview(p.PushPreview),
	}
}
