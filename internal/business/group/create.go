package group

import (
	"context"
	"fmt"
	"slices"
	"sync"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Create makes a group with the caller as its owner. It has no id that a repetition could name: after OUTCOME_UNKNOWN
// or LOG_FULL the group may appear later.
func (s *Service) Create(ctx context.Context, req *groupv1.CreateRequest) (*groupv1.GroupResponse, error) {
	me := calls.IdentityOf(ctx).UserID
	if me == "" {
		return nil, fault.New(fault.TokenMissing, "who creates a group?")
	}
	broken := checkIDs("memberIds", req.GetMemberIds())
	if broken = append(broken, s.checkName("name", req.GetName(), 1)...); len(broken) > 0 {
		return nil, fault.InvalidFields(broken...)
	}
	others := distinct(req.GetMemberIds(), me)
	if len(others)+1 > s.cfg.MaxMembers {
		return nil, s.full()
	}
	if err := s.mayCreate(ctx, me); err != nil {
		return nil, err
	}
	others, err := s.admissible(ctx, me, others)
	if err != nil {
		return nil, err
	}
	c := s.newChange(created, me, messagev1.NoticeType_NOTICE_TYPE_GROUP_CREATED, append([]chat.UserID{me}, others...)...)
	c.Name = req.GetName()
	g := store.Group{
		ID: chat.GroupID(chat.NewID()), Name: req.GetName(), OwnerID: me, CreatedAt: c.At, Version: 1,
		JoinMode:          int32(groupv1.JoinMode_JOIN_MODE_INVITE),
		HistoryVisibility: int32(groupv1.HistoryVisibility_HISTORY_VISIBILITY_SINCE_JOIN),
	}
	begun, err := c.encode()
	if err != nil {
		return nil, err
	}
	if err := s.groups.Create(ctx, g, begun); err != nil {
		return nil, unsettled(fmt.Errorf("store new group %s: %w", g.ID, err))
	}
	if err := s.complete(ctx, g, c); err != nil {
		return nil, unsettled(err)
	}
	return s.changed(ctx, g.ID, me)
}

// mayCreate counts a group against the user's limit. Without the fast state there is no limit: it protects others'
// peace, not data.
func (s *Service) mayCreate(ctx context.Context, me chat.UserID) error {
	ok, after, err := s.limits.Take(ctx, "group/create/"+string(me), float64(s.cfg.CreatePerMinute)/60, s.cfg.CreateBurst)
	if err != nil {
		s.warn(ctx, "limits", "groups are created without a limit", err)
		return nil
	}
	if !ok {
		return fault.New(fault.RateLimited, "at most %d new groups a minute", s.cfg.CreatePerMinute).After(after)
	}
	return nil
}

func (s *Service) full() error {
	return fault.New(fault.LimitReached, "a group has at most %d members", s.cfg.MaxMembers)
}

// relationCalls bounds how many questions one call asks user at a time.
const relationCalls = 16

// admissible returns those of users whom actor may add: who blocks the actor is left out, without a word. A user who
// does not exist fails the whole call with NOT_FOUND.
func (s *Service) admissible(ctx context.Context, actor chat.UserID, users []chat.UserID) ([]chat.UserID, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var once sync.Once
	var failed error // the first failure; the others are its consequences
	blocked := make([]bool, len(users))
	next := make(chan int)
	for range min(relationCalls, len(users)) {
		wg.Go(func() {
			for i := range next {
				var err error
				if blocked[i], err = s.blocked(ctx, actor, users[i]); err != nil {
					once.Do(func() { failed = err; cancel() })
				}
			}
		})
	}
	for i := range users {
		next <- i
	}
	close(next)
	wg.Wait()
	if failed != nil {
		return nil, failed
	}
	var out []chat.UserID
	for i, u := range users {
		if !blocked[i] {
			out = append(out, u)
		}
	}
	return out, nil
}

func (s *Service) blocked(ctx context.Context, actor, target chat.UserID) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	r, err := s.users.GetRelation(ctx, &userv1.GetRelationRequest{ActorId: string(actor), TargetId: string(target)})
	switch {
	case err != nil:
		return false, fmt.Errorf("ask how %s stands to %s: %w", target, actor, err)
	case !r.GetTargetExists():
		return false, fault.New(fault.NotFoundReason, "no such user: %s", target)
	}
	return r.GetBlocked(), nil
}

// distinct returns ids once each, in order, without except.
func distinct(ids []string, except chat.UserID) []chat.UserID {
	seen := map[chat.UserID]bool{except: true}
	var out []chat.UserID
	for _, id := range ids {
		if u := chat.UserID(id); !seen[u] {
			seen[u] = true
			out = append(out, u)
		}
	}
	return slices.Clip(out)
}
