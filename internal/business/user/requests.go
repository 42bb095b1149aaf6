package user

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// RequestFriend asks a user to become a friend. A request that crosses another accepts it; one that is open already
// stays as it is and is not told again, so nobody's inbox can be filled by repeating it.
func (s *Service) RequestFriend(ctx context.Context, r *userv1.RequestFriendRequest) (*userv1.RequestFriendResponse, error) {
	actor, err := me(ctx)
	if err != nil {
		return nil, err
	}
	var b broken
	b.peer(actor, r.GetUserId())
	b.text("message", r.GetMessage(), maxMessage)
	if err := b.err(); err != nil {
		return nil, err
	}
	target, err := s.people.one(ctx, chat.UserID(r.GetUserId()))
	if err != nil {
		return nil, err
	}
	a := asking{
		message: r.GetMessage(), id: chat.NewID(), at: now(),
		allowed: allows(userv1.Audience(target.WhoMayAdd), false), // a friend's request has no effect in any case
	}
	if err := s.checkRoom(ctx, actor, target.UserID); err != nil {
		return nil, err
	}
	return &userv1.RequestFriendResponse{}, s.announce(ctx, actor, target.UserID, a.ask)
}

// asking is one request, made once, however often its change runs.
type asking struct {
	message string
	id      string
	at      time.Time
	allowed bool // by the target's settings
}

// ask is the change that a request makes; ab is the side of who asks.
func (a asking) ask(ab, ba *store.Relation) error {
	switch {
	case ab.Friend || !ab.RequestedAt.IsZero():
		return nil
	case ab.Blocked:
		return fault.New(fault.NotAllowed, "you block this user")
	case waits(ba, ab):
		return befriend(ab, ba, a.id, a.at)
	case !a.allowed:
		return fault.New(fault.NotAllowed, "this user takes no friend requests")
	case ab.Pending != "":
		return errPending
	}
	ab.RequestedAt, ab.RequestMessage = a.at, a.message
	if !ba.Blocked { // who is blocked is not told, and tells nobody
		ab.Pending = pendingRequest + a.id
	}
	return nil
}

// waits tells whether the owner of side asker waits for an answer that the owner of side asked can give. Requests of
// somebody whom one blocks are not there.
func waits(asker, asked *store.Relation) bool {
	return !asker.RequestedAt.IsZero() && !asked.Blocked
}

// befriend makes both sides friends; ab is the side of who acted last.
func befriend(ab, ba *store.Relation, id string, at time.Time) error {
	if ab.Pending != "" {
		return errPending
	}
	for _, r := range []*store.Relation{ab, ba} {
		r.Friend, r.FriendSince, r.RequestedAt = true, at, time.Time{}
		forget(r)
	}
	ab.Pending = pendingAdded + id
	return nil
}

// unfriend takes one side's part of a friendship away.
func unfriend(r *store.Relation) {
	r.Friend, r.FriendSince = false, time.Time{}
	r.Remark, r.Tags, r.Starred = "", nil, false
}

// announceTries is how often a change waits for earlier ones of its pair, announcePause for how long at first; it
// doubles each time.
const (
	announceTries = 8
	announcePause = time.Millisecond
)

// announce makes a change that tells somebody something, and completes it. An earlier change of the pair that is half
// done is completed first, because a side holds one mark.
func (s *Service) announce(ctx context.Context, actor, target chat.UserID, change func(ab, ba *store.Relation) error) error {
	for try := range announceTries {
		ab, ba, err := s.pairs.update(ctx, actor, target, change)
		if err == nil {
			return s.inbox.complete(ctx, ab, ba)
		}
		if !errors.Is(err, errPending) {
			return err
		}
		if ab, ba, err = s.pairs.store.Get(ctx, actor, target); err != nil {
			return fmt.Errorf("load relation of %s to %s: %w", actor, target, err)
		}
		if err := s.inbox.complete(ctx, ab, ba); err != nil {
			return err
		}
		select {
		case <-time.After(announcePause << try):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fault.New(fault.Overloaded, "others change this relation at the same time").After(time.Second)
}

// checkRoom refuses a friend too many, if target asked actor and would become one now. It is asked before the change
// and may be overtaken: the limit is there to bound work, not to be exact.
func (s *Service) checkRoom(ctx context.Context, actor, target chat.UserID) error {
	ab, ba, err := s.pairs.store.Get(ctx, actor, target)
	if err != nil {
		return fmt.Errorf("load relation of %s to %s: %w", actor, target, err)
	}
	if ab.Friend || !waits(&ba, &ab) {
		return nil
	}
	for _, u := range []chat.UserID{actor, target} {
		ids, err := s.pairs.store.FriendIDs(ctx, u)
		if err != nil {
			return fmt.Errorf("load friends of user %s: %w", u, err)
		}
		if len(ids) >= s.cfg.MaxFriends {
			return fault.New(fault.LimitReached, "one of the two has %d friends, which is the most", s.cfg.MaxFriends)
		}
	}
	return nil
}

// AcceptFriend makes the caller and the asking user friends. Accepting again completes what is half done and is
// otherwise without effect. Who asks nothing of the caller is answered for as who is not there.
func (s *Service) AcceptFriend(ctx context.Context, r *userv1.AcceptFriendRequest) (*userv1.AcceptFriendResponse, error) {
	actor, target, err := pairOf(ctx, r.GetUserId())
	if err != nil {
		return nil, err
	}
	if err := s.checkRoom(ctx, actor, target); err != nil {
		return nil, err
	}
	id, at := chat.NewID(), now()
	return &userv1.AcceptFriendResponse{}, s.announce(ctx, actor, target, func(ab, ba *store.Relation) error {
		switch {
		case ab.Friend:
			return nil
		case !waits(ba, ab):
			return noRequest(target)
		}
		return befriend(ab, ba, id, at)
	})
}

// DeclineFriend drops a request; the asking user is not told.
func (s *Service) DeclineFriend(ctx context.Context, r *userv1.DeclineFriendRequest) (*userv1.DeclineFriendResponse, error) {
	actor, target, err := pairOf(ctx, r.GetUserId())
	if err != nil {
		return nil, err
	}
	_, _, err = s.pairs.update(ctx, actor, target, func(ab, ba *store.Relation) error {
		if !waits(ba, ab) {
			return noRequest(target)
		}
		ba.RequestedAt = time.Time{}
		forget(ba)
		return nil
	})
	return &userv1.DeclineFriendResponse{}, err
}

func noRequest(from chat.UserID) error {
	return fault.New(fault.NotFoundReason, "there is no request from user %s", from)
}

// ListFriendRequests returns the open requests, newest first; those of blocked users are left out, so a page may be
// short.
func (s *Service) ListFriendRequests(ctx context.Context, r *userv1.ListFriendRequestsRequest) (*userv1.ListFriendRequestsResponse, error) {
	name, kind := "incoming", store.IncomingRequests
	switch r.GetDirection() {
	case userv1.Direction_DIRECTION_UNSPECIFIED, userv1.Direction_DIRECTION_INCOMING:
	case userv1.Direction_DIRECTION_OUTGOING:
		name, kind = "outgoing", store.OutgoingRequests
	default:
		return nil, fault.InvalidField("direction", "incoming or outgoing")
	}
	resp := &userv1.ListFriendRequestsResponse{}
	next, err := s.list(ctx, name, kind, r.PageSize, r.GetPageToken(), func(r store.Relation, u *userv1.User) {
		if kind == store.IncomingRequests && r.Blocked {
			return
		}
		resp.Requests = append(resp.Requests, &userv1.FriendRequest{
			User: u, Message: r.RequestMessage, CreatedAt: timestamppb.New(r.RequestedAt),
		})
	})
	resp.NextPageToken = next
	return resp, err
}
