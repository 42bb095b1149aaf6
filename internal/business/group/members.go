package group

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// AddMembers adds users; those that are members already, and those who block the caller, are ignored.
func (s *Service) AddMembers(ctx context.Context, req *groupv1.AddMembersRequest) (*groupv1.AddMembersResponse, error) {
	me, id := calls.IdentityOf(ctx).UserID, chat.GroupID(req.GetGroupId())
	broken := append(checkIDs("groupId", []string{req.GetGroupId()}), checkIDs("userIds", req.GetUserIds())...)
	users := distinct(req.GetUserIds(), me)
	if n := len(req.GetUserIds()); n == 0 || len(users) > s.cfg.MaxAdd {
		broken = append(broken, fault.Field{Field: "userIds", Rule: fmt.Sprintf("1 to %d users", s.cfg.MaxAdd)})
	}
	if len(broken) > 0 {
		return nil, fault.InvalidFields(broken...)
	}
	m, err := s.present(ctx, id, me)
	if err != nil {
		return nil, err
	}
	if err := manages(m); err != nil {
		return nil, err
	}
	if users, err = s.absent(ctx, id, users); err != nil {
		return nil, err
	}
	if users, err = s.admissible(ctx, me, users); err != nil {
		return nil, err
	}
	if len(users) > 0 {
		if err := s.change(ctx, id, me, s.planAdd(me, users)); err != nil {
			return nil, err
		}
	}
	r, err := s.changed(ctx, id, me)
	if err != nil {
		return nil, err
	}
	return &groupv1.AddMembersResponse{Group: r.GetGroup()}, nil
}

func (s *Service) planAdd(me chat.UserID, users []chat.UserID) planner {
	return func(ctx context.Context, g store.Group) (*change, error) {
		actor, err := s.actor(ctx, g, me)
		if err != nil {
			return nil, err
		}
		if err := manages(actor); err != nil {
			return nil, err
		}
		fresh, err := s.absent(ctx, g.ID, users)
		if err != nil || len(fresh) == 0 {
			return nil, err
		}
		if g.MemberCount+len(fresh) > s.cfg.MaxMembers {
			return nil, s.full()
		}
		return s.newChange(joined, me, messagev1.NoticeType_NOTICE_TYPE_MEMBER_JOINED, fresh...), nil
	}
}

// absent returns those of users who are no members now.
func (s *Service) absent(ctx context.Context, id chat.GroupID, users []chat.UserID) ([]chat.UserID, error) {
	rows, err := s.rows(ctx, id, users)
	if err != nil {
		return nil, err
	}
	var out []chat.UserID
	for _, u := range users {
		if !rows[u].Present() {
			out = append(out, u)
		}
	}
	return out, nil
}

// RemoveMember removes a user of a lower role. Oneself leaves; removing oneself is an invalid request.
func (s *Service) RemoveMember(ctx context.Context, req *groupv1.RemoveMemberRequest) (*groupv1.RemoveMemberResponse, error) {
	me, id, target := calls.IdentityOf(ctx).UserID, chat.GroupID(req.GetGroupId()), chat.UserID(req.GetUserId())
	if err := checkTarget(req.GetGroupId(), req.GetUserId()); err != nil {
		return nil, err
	}
	err := s.change(ctx, id, me, func(ctx context.Context, g store.Group) (*change, error) {
		actor, m, err := s.pair(ctx, g, me, target)
		if err == nil {
			err = above(actor, m)
		}
		if err != nil {
			return nil, err
		}
		return s.newChange(ended, me, messagev1.NoticeType_NOTICE_TYPE_MEMBER_REMOVED, target), nil
	})
	if err != nil {
		return nil, err
	}
	return &groupv1.RemoveMemberResponse{}, nil
}

// Leave ends the caller's own membership; an owner must transfer or dissolve.
func (s *Service) Leave(ctx context.Context, req *groupv1.LeaveRequest) (*groupv1.LeaveResponse, error) {
	me := calls.IdentityOf(ctx).UserID
	if err := chat.CheckID("groupId", req.GetGroupId()); err != nil {
		return nil, err
	}
	err := s.change(ctx, chat.GroupID(req.GetGroupId()), me, func(ctx context.Context, g store.Group) (*change, error) {
		m, err := s.actor(ctx, g, me)
		if err != nil {
			return nil, err
		}
		if m.Role == int32(groupv1.Role_ROLE_OWNER) {
			return nil, fault.New(fault.OwnerMustTransfer, "an owner makes another member the owner first, or dissolves the group")
		}
		return s.newChange(ended, me, messagev1.NoticeType_NOTICE_TYPE_MEMBER_LEFT, me), nil
	})
	if err != nil {
		return nil, err
	}
	return &groupv1.LeaveResponse{}, nil
}

// actor returns the caller's row of g, or NOT_MEMBER or NOT_FOUND.
func (s *Service) actor(ctx context.Context, g store.Group, me chat.UserID) (store.Member, error) {
	rows, err := s.rows(ctx, g.ID, []chat.UserID{me})
	switch m := rows[me]; {
	case err != nil:
		return m, err
	case len(m.Spans) == 0:
		return m, notFound()
	case !m.Present():
		return m, notMember()
	default:
		return m, nil
	}
}

// pair returns the rows of the caller and of another present member. Plain members learn nothing of whom they name.
func (s *Service) pair(ctx context.Context, g store.Group, me, target chat.UserID) (actor, m store.Member, err error) {
	if actor, err = s.actor(ctx, g, me); err != nil {
		return actor, m, err
	}
	if me == target {
		return actor, m, fault.InvalidField("userId", "another member, not oneself")
	}
	if err := manages(actor); err != nil {
		return actor, m, err
	}
	rows, err := s.rows(ctx, g.ID, []chat.UserID{target})
	if err != nil {
		return actor, m, err
	}
	if m = rows[target]; !m.Present() {
		return actor, m, noSuchMember()
	}
	return actor, m, nil
}

// ListMembers returns a page of the present members, to present members. Members who come or go between two pages may
// be missed or seen twice.
func (s *Service) ListMembers(ctx context.Context, req *groupv1.ListMembersRequest) (*groupv1.ListMembersResponse, error) {
	me, id := calls.IdentityOf(ctx).UserID, chat.GroupID(req.GetGroupId())
	size, offset, err := page(req)
	if err != nil {
		return nil, err
	}
	if _, err := s.present(ctx, id, me); err != nil {
		return nil, err
	}
	rows, err := s.members.Present(ctx, id, offset, size+1)
	if err != nil {
		return nil, fmt.Errorf("list members of group %s: %w", id, err)
	}
	out := &groupv1.ListMembersResponse{}
	if len(rows) > size {
		rows, out.NextPageToken = rows[:size], pagePrefix+strconv.Itoa(offset+size)
	}
	out.Members, err = s.withProfiles(ctx, rows)
	return out, err
}

// Pages of lists, from the public contract.
const (
	pageDefault = 50
	pageMax     = 100
	pagePrefix  = "m" // marks a token of ListMembers; the rest is the offset
)

func page(req *groupv1.ListMembersRequest) (size, offset int, err error) {
	broken := checkIDs("groupId", []string{req.GetGroupId()})
	size = pageDefault
	if req.PageSize != nil {
		size = min(int(req.GetPageSize()), pageMax)
	}
	if size < 1 {
		broken = append(broken, fault.Field{Field: "pageSize", Rule: "at least 1"})
	}
	if t := req.GetPageToken(); t != "" {
		digits, ok := strings.CutPrefix(t, pagePrefix)
		n, convErr := strconv.ParseUint(digits, 10, 31)
		if !ok || convErr != nil {
			broken = append(broken, fault.Field{Field: "pageToken", Rule: "the nextPageToken of an earlier answer"})
		}
		offset = int(n)
	}
	if len(broken) > 0 {
		return 0, 0, fault.InvalidFields(broken...)
	}
	return size, offset, nil
}

// withProfiles returns the public form of rows. A user who is gone has an id and nothing else.
func (s *Service) withProfiles(ctx context.Context, rows []store.Member) ([]*groupv1.Member, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	ids := make([]string, len(rows))
	for i, m := range rows {
		ids[i] = string(m.UserID)
	}
	profiles, err := s.users.GetProfiles(ctx, &userv1.GetProfilesRequest{UserIds: ids})
	if err != nil {
		return nil, fmt.Errorf("ask for profiles: %w", err)
	}
	byID := make(map[string]*userv1.User, len(ids))
	for _, u := range profiles.GetUsers() {
		byID[u.GetUserId()] = u
	}
	out := make([]*groupv1.Member, len(rows))
	for i, m := range rows {
		u := byID[string(m.UserID)]
		if u == nil {
			u = &userv1.User{UserId: string(m.UserID)}
		}
		out[i] = &groupv1.Member{User: u, Role: groupv1.Role(m.Role), Nickname: m.Nickname, JoinedAt: timestamppb.New(m.JoinedAt)}
		if s.muted(m) {
			out[i].MutedUntil = timestamppb.New(m.MutedUntil)
		}
	}
	return out, nil
}
