package user

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// ListFriends returns the address book, by user id.
func (s *Service) ListFriends(ctx context.Context, r *userv1.ListFriendsRequest) (*userv1.ListFriendsResponse, error) {
	resp := &userv1.ListFriendsResponse{}
	next, err := s.list(ctx, "friends", store.Friends, r.PageSize, r.GetPageToken(), func(r store.Relation, u *userv1.User) {
		resp.Friends = append(resp.Friends, friend(r, u))
	})
	resp.NextPageToken = next
	return resp, err
}

// ListBlocks returns whom the caller blocks, newest first.
func (s *Service) ListBlocks(ctx context.Context, r *userv1.ListBlocksRequest) (*userv1.ListBlocksResponse, error) {
	resp := &userv1.ListBlocksResponse{}
	next, err := s.list(ctx, "blocks", store.Blocks, r.PageSize, r.GetPageToken(), func(_ store.Relation, u *userv1.User) {
		resp.Users = append(resp.Users, u)
	})
	resp.NextPageToken = next
	return resp, err
}

// list calls add with each relation of a page of a list of the caller's and the user at its other end, and returns the
// token of the next page. Who has no profile (any more) is left out, so a page may be short.
func (s *Service) list(ctx context.Context, name string, kind store.RelationKind, size *int32, token string, add func(store.Relation, *userv1.User)) (string, error) {
	actor, err := me(ctx)
	if err != nil {
		return "", err
	}
	var b broken
	p := b.page(name, size, token)
	if err := b.err(); err != nil {
		return "", err
	}
	rs, next, err := s.pairs.store.List(ctx, actor, kind, p.after, p.size)
	if fault.IsReason(err, fault.InvalidFieldReason) {
		b.badToken() // well-formed, but no cursor of the store's
		return "", b.err()
	}
	if err != nil {
		return "", fmt.Errorf("list %s of user %s: %w", name, actor, err)
	}
	ids := make([]chat.UserID, len(rs))
	for i, r := range rs {
		ids[i] = r.Peer
	}
	users, err := s.people.many(ctx, ids)
	if err != nil {
		return "", err
	}
	for _, r := range rs {
		if u := users[r.Peer]; u != nil {
			add(r, u)
		}
	}
	return p.next(next), nil
}

func friend(r store.Relation, u *userv1.User) *userv1.Friend {
	return &userv1.Friend{User: u, Remark: r.Remark, Tags: r.Tags, Starred: r.Starred, Since: timestamppb.New(r.FriendSince)}
}

func notFriends(id chat.UserID) error {
	return fault.New(fault.NotFoundReason, "user %s is not in the address book", id)
}

// UpdateFriend changes the caller's own notes on a friend, which the friend never sees.
func (s *Service) UpdateFriend(ctx context.Context, r *userv1.UpdateFriendRequest) (*userv1.FriendResponse, error) {
	actor, err := me(ctx)
	if err != nil {
		return nil, err
	}
	var b broken
	b.peer(actor, r.GetUserId())
	remark := b.line("remark", r.GetRemark(), maxRemark)
	tags := b.tags(r.GetTags().GetValues())
	if err := b.err(); err != nil {
		return nil, err
	}
	target := chat.UserID(r.GetUserId())
	ab, _, err := s.pairs.update(ctx, actor, target, func(ab, _ *store.Relation) error {
		if !ab.Friend {
			return notFriends(target)
		}
		if r.Remark != nil {
			ab.Remark = remark
		}
		if r.Tags != nil {
			ab.Tags = tags
		}
		if r.Starred != nil {
			ab.Starred = r.GetStarred()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p, err := s.people.one(ctx, target)
	if err != nil {
		return nil, err
	}
	return &userv1.FriendResponse{Friend: friend(ab, public(p))}, nil
}

// RemoveFriend ends a friendship on both sides, and with it the notes of both. The other one is not told.
func (s *Service) RemoveFriend(ctx context.Context, r *userv1.RemoveFriendRequest) (*userv1.RemoveFriendResponse, error) {
	actor, target, err := pairOf(ctx, r.GetUserId())
	if err != nil {
		return nil, err
	}
	_, _, err = s.pairs.update(ctx, actor, target, func(ab, ba *store.Relation) error {
		if !ab.Friend {
			return notFriends(target)
		}
		unfriend(ab)
		unfriend(ba)
		return nil
	})
	return &userv1.RemoveFriendResponse{}, err
}
