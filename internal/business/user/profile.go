package user

import (
	"context"
	"slices"

	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Get returns a user by id.
func (s *Service) Get(ctx context.Context, r *userv1.GetRequest) (*userv1.UserResponse, error) {
	if _, err := me(ctx); err != nil {
		return nil, err
	}
	if err := chat.CheckID("userId", r.GetUserId()); err != nil {
		return nil, err
	}
	return s.user(ctx, chat.UserID(r.GetUserId()))
}

// GetMe returns the caller.
func (s *Service) GetMe(ctx context.Context, _ *userv1.GetMeRequest) (*userv1.UserResponse, error) {
	actor, err := me(ctx)
	if err != nil {
		return nil, err
	}
	return s.user(ctx, actor)
}

func (s *Service) user(ctx context.Context, id chat.UserID) (*userv1.UserResponse, error) {
	p, err := s.people.one(ctx, id)
	if err != nil {
		return nil, err
	}
	return &userv1.UserResponse{User: public(p)}, nil
}

// UpdateMe changes the fields that are present.
func (s *Service) UpdateMe(ctx context.Context, r *userv1.UpdateMeRequest) (*userv1.UserResponse, error) {
	actor, err := me(ctx)
	if err != nil {
		return nil, err
	}
	var b broken
	nickname := b.line("nickname", r.GetNickname(), maxNickname)
	b.avatar(r.GetAvatar())
	b.text("bio", r.GetBio(), maxBio)
	if err := b.err(); err != nil {
		return nil, err
	}
	if r.Nickname == nil && r.Avatar == nil && r.Bio == nil {
		return s.user(ctx, actor)
	}
	p, err := s.people.update(ctx, actor, func(p *store.Profile) error {
		if r.Nickname != nil {
			if p.Nickname = nickname; nickname == "" {
				p.Nickname = p.Username
			}
		}
		if r.Avatar != nil {
			p.Avatar = r.GetAvatar()
		}
		if r.Bio != nil {
			p.Bio = r.GetBio()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &userv1.UserResponse{User: public(p)}, nil
}

// GetSettings returns the caller's settings. It reads the database: who has just changed them must see it.
func (s *Service) GetSettings(ctx context.Context, _ *userv1.GetSettingsRequest) (*userv1.SettingsResponse, error) {
	actor, err := me(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.people.one(ctx, actor)
	if err != nil {
		return nil, err
	}
	return &userv1.SettingsResponse{Settings: settings(p)}, nil
}

// The words that each setting takes. The zero value, which is null in a PATCH, restores the default.
const (
	everyoneOrFriends = "everyone or friends"
	anyAudience       = "everyone, friends or nobody"
	anyPreview        = "all, name or none"
)

// UpdateSettings changes the fields that are present.
func (s *Service) UpdateSettings(ctx context.Context, r *userv1.UpdateSettingsRequest) (*userv1.SettingsResponse, error) {
	actor, err := me(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkSettings(r); err != nil {
		return nil, err
	}
	p, err := s.people.update(ctx, actor, func(p *store.Profile) error {
		d := defaults()
		choose(&p.WhoMayFind, r.WhoMayFind, d.WhoMayFind)
		choose(&p.WhoMayAdd, r.WhoMayAdd, d.WhoMayAdd)
		choose(&p.WhoMayWrite, r.WhoMayWrite, d.WhoMayWrite)
		choose(&p.LastSeen, r.LastSeen, d.LastSeen)
		choose(&p.PushPreview, r.PushPreview, d.PushPreview)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &userv1.SettingsResponse{Settings: settings(p)}, nil
}

func checkSettings(r *userv1.UpdateSettingsRequest) error {
	const (
		unset    = userv1.Audience_AUDIENCE_UNSPECIFIED
		everyone = userv1.Audience_AUDIENCE_EVERYONE
		friends  = userv1.Audience_AUDIENCE_FRIENDS
		nobody   = userv1.Audience_AUDIENCE_NOBODY
	)
	var b broken
	oneOf := func(field, rule string, got userv1.Audience, allowed ...userv1.Audience) {
		if !slices.Contains(allowed, got) {
			b.add(field, rule)
		}
	}
	oneOf("whoMayFind", anyAudience, r.GetWhoMayFind(), unset, everyone, friends, nobody)
	oneOf("whoMayAdd", anyAudience, r.GetWhoMayAdd(), unset, everyone, friends, nobody)
	oneOf("whoMayWrite", everyoneOrFriends, r.GetWhoMayWrite(), unset, everyone, friends)
	oneOf("lastSeen", anyAudience, r.GetLastSeen(), unset, everyone, friends, nobody)
	if _, ok := userv1.PushPreview_name[int32(r.GetPushPreview())]; !ok {
		b.add("pushPreview", anyPreview)
	}
	return b.err()
}

// choose sets a setting to a choice that was made: 0 is the default, nil no choice.
func choose[E ~int32](setting *int32, choice *E, initial int32) {
	switch {
	case choice == nil:
	case *choice == 0:
		*setting = initial
	default:
		*setting = int32(*choice)
	}
}
