package presence

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

const (
	maxIDs     = 500 // of one Get
	relationsN = 16  // relations asked for at a time
)

// Get returns the presence of the users asked for that are the caller, a friend or in a group with the caller, in the
// order asked and each once. Strangers and users that do not exist are left out alike. One who blocks the caller is
// off line since an unknown time, as the blocked one is not told.
func (s *Service) Get(ctx context.Context, r *presencev1.GetRequest) (*presencev1.GetResponse, error) {
	me := calls.IdentityOf(ctx).UserID
	if me == "" {
		return nil, fault.New(fault.TokenMissing, "this method needs a session")
	}
	ids, err := distinct(r.GetUserIds())
	if err != nil {
		return nil, err
	}
	if ids, err = s.visible(ctx, me, ids); err != nil {
		return nil, err
	}
	presences, err := s.states(ctx, ids)
	if err != nil {
		return nil, err
	}
	if err := s.withhold(ctx, me, presences); err != nil {
		return nil, err
	}
	return &presencev1.GetResponse{Presences: presences}, nil
}

// distinct returns valid ids, each once and in their order, or INVALID_FIELD.
func distinct(ids []string) ([]string, error) {
	if len(ids) > maxIDs {
		return nil, fault.InvalidField("userIds", fmt.Sprintf("at most %d", maxIDs))
	}
	seen := make(map[string]bool, len(ids))
	out := make([]string, 0, len(ids))
	for i, id := range ids {
		if err := chat.CheckID(fmt.Sprintf("userIds[%d]", i), id); err != nil {
			return nil, err
		}
		if !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out, nil
}

// visible returns those of ids whose presence the caller may know, in their order. Group is asked only about who is
// no friend.
func (s *Service) visible(ctx context.Context, me chat.UserID, ids []string) ([]string, error) {
	may := map[string]bool{string(me): true}
	rest := without(ids, may)
	if len(rest) > 0 {
		friends, err := s.d.Users.ListFriendIds(ctx, &userv1.ListFriendIdsRequest{UserId: string(me)})
		if err != nil {
			return nil, fmt.Errorf("list friends of %s: %w", me, err)
		}
		mark(may, friends.GetUserIds())
		rest = without(rest, may)
	}
	if len(rest) > 0 {
		fellows, err := s.d.Groups.ShareGroup(ctx, &groupv1.ShareGroupRequest{UserId: string(me), UserIds: rest})
		if err != nil {
			return nil, fmt.Errorf("find fellow members of %s: %w", me, err)
		}
		mark(may, fellows.GetUserIds())
	}
	out := make([]string, 0, len(ids))
	for _, id := range ids {
		if may[id] {
			out = append(out, id)
		}
	}
	return out, nil
}

func mark(set map[string]bool, ids []string) {
	for _, id := range ids {
		set[id] = true
	}
}

func without(ids []string, set map[string]bool) []string {
	var rest []string
	for _, id := range ids {
		if !set[id] {
			rest = append(rest, id)
		}
	}
	return rest
}

// states returns what the fast state knows of ids: the best status of all connections, and when there is none the time
// last seen.
func (s *Service) states(ctx context.Context, ids []string) ([]*presencev1.Presence, error) {
	users := make([]chat.UserID, len(ids))
	for i, id := range ids {
		users[i] = chat.UserID(id)
	}
	conns, err := s.d.State.Lookup(ctx, users)
	if err != nil {
		return nil, fmt.Errorf("look up %d users: %w", len(users), err)
	}
	seen, err := s.d.State.LastSeen(ctx, users)
	if err != nil {
		return nil, fmt.Errorf("last seen of %d users: %w", len(users), err)
	}
	best := make(map[string]presencev1.Status, len(ids))
	for _, c := range conns {
		// Of the numbers the better status has the lower one.
		if st, ok := best[string(c.UserID)]; !ok || statusOf(c.Status) < st {
			best[string(c.UserID)] = statusOf(c.Status)
		}
	}
	out := make([]*presencev1.Presence, len(ids))
	for i, id := range ids {
		out[i] = presenceOf(id, best[id], seen[i])
	}
	return out, nil
}

func presenceOf(id string, st presencev1.Status, seen time.Time) *presencev1.Presence {
	if st != presencev1.Status_STATUS_UNSPECIFIED {
		return &presencev1.Presence{UserId: id, Status: st}
	}
	p := &presencev1.Presence{UserId: id, Status: presencev1.Status_STATUS_OFFLINE}
	if !seen.IsZero() {
		p.LastSeenAt = timestamppb.New(seen)
	}
	return p
}

// withhold takes off what the users do not show to the caller. Only about those who show something is user asked.
func (s *Service) withhold(ctx context.Context, me chat.UserID, presences []*presencev1.Presence) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(relationsN)
	for _, p := range presences {
		if p.GetUserId() == string(me) || p.GetStatus() == presencev1.Status_STATUS_OFFLINE && p.GetLastSeenAt() == nil {
			continue
		}
		g.Go(func() error {
			rel, err := s.d.Users.GetRelation(ctx, &userv1.GetRelationRequest{ActorId: string(me), TargetId: p.GetUserId()})
			if err != nil {
				return fmt.Errorf("relation to %s: %w", p.GetUserId(), err)
			}
			if rel.GetBlocked() {
				p.Status = presencev1.Status_STATUS_OFFLINE
			}
			if rel.GetBlocked() || !rel.GetSeesLastSeen() {
				p.LastSeenAt = nil
			}
			return nil
		})
	}
	return g.Wait()
}
