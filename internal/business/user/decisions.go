package user

import (
	"context"
	"errors"
	"fmt"

	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// decisions answers userv1.UserInternalService: what other services ask (USER-2).
type decisions struct {
	userv1.UnimplementedUserInternalServiceServer
	people *people
	pairs  *pairs
}

var _ userv1.UserInternalServiceServer = (*decisions)(nil)

// CreateProfile makes the profile of a fresh account.
func (d *decisions) CreateProfile(ctx context.Context, r *userv1.CreateProfileRequest) (*userv1.CreateProfileResponse, error) {
	var b broken
	b.id("user.userId", r.GetUser().GetUserId())
	if r.GetUser().GetUsername() == "" {
		b.add("user.username", "not empty")
	}
	if err := b.err(); err != nil {
		return nil, err
	}
	return &userv1.CreateProfileResponse{}, d.people.create(ctx, r.GetUser())
}

// GetProfiles returns the users that exist, in the order asked.
func (d *decisions) GetProfiles(ctx context.Context, r *userv1.GetProfilesRequest) (*userv1.GetProfilesResponse, error) {
	ids := make([]chat.UserID, len(r.GetUserIds()))
	for i, id := range r.GetUserIds() {
		ids[i] = chat.UserID(id)
	}
	users, err := d.people.many(ctx, ids)
	if err != nil {
		return nil, err
	}
	resp := &userv1.GetProfilesResponse{}
	for _, id := range ids {
		if u := users[id]; u != nil {
			resp.Users = append(resp.Users, u)
		}
	}
	return resp, nil
}

// GetRelation answers how two users stand to each other. With both of its parts cached it touches no database.
func (d *decisions) GetRelation(ctx context.Context, r *userv1.GetRelationRequest) (*userv1.GetRelationResponse, error) {
	var b broken
	b.id("actorId", r.GetActorId())
	b.id("targetId", r.GetTargetId())
	if err := b.err(); err != nil {
		return nil, err
	}
	actor, target := chat.UserID(r.GetActorId()), chat.UserID(r.GetTargetId())
	s, exists, err := d.people.settings(ctx, target)
	if err != nil {
		return nil, err
	}
	if actor == target {
		return &userv1.GetRelationResponse{TargetExists: exists, ActorExists: exists, SeesLastSeen: exists}, nil
	}
	resp, err := d.pairs.relation(ctx, actor, target)
	if err != nil {
		return nil, err
	}
	if _, resp.ActorExists, err = d.people.settings(ctx, actor); err != nil {
		return nil, err
	}
	resp.TargetExists = exists
	resp.MayWrite = exists && !resp.GetBlocked() && allows(s.GetWhoMayWrite(), resp.GetFriends())
	resp.SeesLastSeen = exists && !resp.GetBlocked() && allows(s.GetLastSeen(), resp.GetFriends())
	return resp, nil
}

// allows tells whether an audience includes somebody who is, or is not, a friend. A word that is not known yet, from a
// newer version, includes nobody.
func allows(a userv1.Audience, friend bool) bool {
	switch a {
	case userv1.Audience_AUDIENCE_EVERYONE, userv1.Audience_AUDIENCE_UNSPECIFIED:
		return true
	case userv1.Audience_AUDIENCE_FRIENDS:
		return friend
	default:
		return false
	}
}

// FindUsername returns the user id of a username, or NOT_FOUND.
func (d *decisions) FindUsername(ctx context.Context, r *userv1.FindUsernameRequest) (*userv1.FindUsernameResponse, error) {
	p, err := d.people.store.ByUsername(ctx, r.GetUsername())
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound(chat.UserID(r.GetUsername()))
	}
	if err != nil {
		return nil, fmt.Errorf("find a username: %w", err)
	}
	return &userv1.FindUsernameResponse{UserId: string(p.UserID)}, nil
}

// ListFriendIds returns the ids of all friends of a user; Config.MaxFriends bounds them.
func (d *decisions) ListFriendIds(ctx context.Context, r *userv1.ListFriendIdsRequest) (*userv1.ListFriendIdsResponse, error) {
	ids, err := d.pairs.store.FriendIDs(ctx, chat.UserID(r.GetUserId()))
	if err != nil {
		return nil, fmt.Errorf("load friends of user %s: %w", r.GetUserId(), err)
	}
	resp := &userv1.ListFriendIdsResponse{UserIds: make([]string, len(ids))}
	for i, id := range ids {
		resp.UserIds[i] = string(id)
	}
	return resp, nil
}

// GetUserSettings returns the settings of users, in the order asked.
func (d *decisions) GetUserSettings(ctx context.Context, r *userv1.GetUserSettingsRequest) (*userv1.GetUserSettingsResponse, error) {
	resp := &userv1.GetUserSettingsResponse{Settings: make([]*userv1.Settings, len(r.GetUserIds()))}
	for i, id := range r.GetUserIds() {
		s, _, err := d.people.settings(ctx, chat.UserID(id))
		if err != nil {
			return nil, err
		}
		resp.Settings[i] = s
	}
	return resp, nil
}
