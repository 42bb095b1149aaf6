package group

import (
	"context"
	"fmt"
	"time"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Update changes the fields that are present; null restores a default where there is one. historyVisibility holds for
// those who join from then on: what members see already neither grows nor shrinks.
func (s *Service) Update(ctx context.Context, req *groupv1.UpdateRequest) (*groupv1.GroupResponse, error) {
	me, id := calls.IdentityOf(ctx).UserID, chat.GroupID(req.GetGroupId())
	if err := s.checkUpdate(req); err != nil {
		return nil, err
	}
	err := s.change(ctx, id, me, func(ctx context.Context, g store.Group) (*change, error) {
		m, err := s.actor(ctx, g, me)
		if err != nil {
			return nil, err
		}
		if err := manages(m); err != nil {
			return nil, err
		}
		set := newFields(g, req)
		if set == (groupFields{}) {
			return nil, nil
		}
		c := s.newChange(edited, me, messagev1.NoticeType_NOTICE_TYPE_GROUP_CHANGED)
		c.Set = &set
		if set.Name != nil {
			c.Name = *set.Name
		}
		return c, nil
	})
	if err != nil {
		return nil, err
	}
	return s.changed(ctx, id, me)
}

func (s *Service) checkUpdate(req *groupv1.UpdateRequest) error {
	broken := checkIDs("groupId", []string{req.GetGroupId()})
	if req.Name != nil {
		broken = append(broken, s.checkName("name", req.GetName(), 1)...)
	}
	if a := req.GetAvatar(); len(a) > s.cfg.MaxAvatar || !validText(a) {
		broken = append(broken, fault.Field{Field: "avatar", Rule: fmt.Sprintf("at most %d bytes", s.cfg.MaxAvatar)})
	}
	broken = append(broken, checkText("description", req.GetDescription(), 0, s.cfg.MaxDescription)...)
	if _, ok := groupv1.JoinMode_name[int32(req.GetJoinMode())]; !ok {
		broken = append(broken, fault.Field{Field: "joinMode", Rule: "invite, request or open"})
	}
	if _, ok := groupv1.HistoryVisibility_name[int32(req.GetHistoryVisibility())]; !ok {
		broken = append(broken, fault.Field{Field: "historyVisibility", Rule: "sinceJoin or all"})
	}
	if len(broken) > 0 {
		return fault.InvalidFields(broken...)
	}
	return nil
}

// newFields returns what the request changes of g.
func newFields(g store.Group, req *groupv1.UpdateRequest) groupFields {
	// An enum that was cleared has its default, the first of its words.
	joinMode := enumOr((*int32)(req.JoinMode), int32(groupv1.JoinMode_JOIN_MODE_INVITE))
	visibility := enumOr((*int32)(req.HistoryVisibility), int32(groupv1.HistoryVisibility_HISTORY_VISIBILITY_SINCE_JOIN))
	return groupFields{
		Name: replaced(g.Name, req.Name), Avatar: replaced(g.Avatar, req.Avatar),
		Description: replaced(g.Description, req.Description), MuteAll: replaced(g.MuteAll, req.MuteAll),
		JoinMode: replaced(g.JoinMode, joinMode), HistoryVisibility: replaced(g.HistoryVisibility, visibility),
	}
}

// replaced returns to if it is present and another than from.
func replaced[T comparable](from T, to *T) *T {
	if to == nil || *to == from {
		return nil
	}
	return to
}

func enumOr(v *int32, unset int32) *int32 {
	if v != nil && *v == 0 {
		return &unset
	}
	return v
}

// UpdateMember changes a member's role (owner only), mute (who stands above it) or nickname (also one's own), all in
// one change. Its notice is roleChanged if the role changes, else groupChanged if the mute does; a nickname alone has
// none.
func (s *Service) UpdateMember(ctx context.Context, req *groupv1.UpdateMemberRequest) (*groupv1.MemberResponse, error) {
	me, id, target := calls.IdentityOf(ctx).UserID, chat.GroupID(req.GetGroupId()), chat.UserID(req.GetUserId())
	if err := s.checkUpdateMember(req); err != nil {
		return nil, err
	}
	err := s.change(ctx, id, me, func(ctx context.Context, g store.Group) (*change, error) {
		actor, m, err := s.editable(ctx, g, me, req)
		if err != nil {
			return nil, err
		}
		if err := mayEdit(actor, m, req); err != nil {
			return nil, err
		}
		return s.memberChange(me, m, req), nil
	})
	if err != nil {
		return nil, err
	}
	_, m, err := s.member(ctx, id, target)
	if err != nil {
		return nil, afterwards(err)
	}
	members, err := s.withProfiles(ctx, []store.Member{m})
	if err != nil {
		return nil, afterwards(err)
	}
	return &groupv1.MemberResponse{Member: members[0]}, nil
}

func (s *Service) checkUpdateMember(req *groupv1.UpdateMemberRequest) error {
	broken := append(checkIDs("groupId", []string{req.GetGroupId()}), checkIDs("userId", []string{req.GetUserId()})...)
	if r := req.GetRole(); req.Role != nil && r != groupv1.Role_ROLE_ADMIN && r != groupv1.Role_ROLE_MEMBER {
		broken = append(broken, fault.Field{Field: "role", Rule: "admin or member; group.transfer makes an owner"})
	}
	if req.MutedUntil != nil && req.MutedUntil.CheckValid() != nil {
		broken = append(broken, fault.Field{Field: "mutedUntil", Rule: "a time of the years 1 to 9999"})
	}
	if req.Nickname != nil {
		broken = append(broken, s.checkName("nickname", req.GetNickname(), 0)...)
	}
	if len(broken) > 0 {
		return fault.InvalidFields(broken...)
	}
	return nil
}

// editable returns the caller's row and that of the member to edit, which may be the same.
func (s *Service) editable(ctx context.Context, g store.Group, me chat.UserID, req *groupv1.UpdateMemberRequest) (actor, m store.Member, err error) {
	if target := chat.UserID(req.GetUserId()); target != me {
		return s.pair(ctx, g, me, target)
	}
	actor, err = s.actor(ctx, g, me)
	return actor, actor, err
}

// mayEdit returns why the actor may not change what the request names of m.
func mayEdit(actor, m store.Member, req *groupv1.UpdateMemberRequest) error {
	own, owner := actor.UserID == m.UserID, actor.Role == int32(groupv1.Role_ROLE_OWNER)
	switch {
	case req.Role != nil && !owner:
		return roleTooLow("only the owner changes roles")
	case req.Role != nil && own:
		return fault.InvalidField("role", "group.transfer makes another the owner")
	case req.MutedUntil != nil:
		return above(actor, m)
	case req.Nickname != nil && !own:
		return above(actor, m)
	}
	return nil
}

// memberChange returns the change that the request makes to m, or nil.
func (s *Service) memberChange(me chat.UserID, m store.Member, req *groupv1.UpdateMemberRequest) *change {
	c := s.newChange(memberEdit, me, messagev1.NoticeType_NOTICE_TYPE_UNSPECIFIED, m.UserID)
	c.Member = &memberFields{Role: replaced(m.Role, (*int32)(req.Role)), Nickname: replaced(m.Nickname, req.Nickname)}
	if req.MutedUntil != nil {
		until := s.muteEnd(req.MutedUntil.AsTime())
		if !until.Equal(m.MutedUntil) {
			c.Member.MutedUntil = &until
		}
	}
	switch f := c.Member; {
	case *f == (memberFields{}):
		return nil
	case f.Role != nil:
		c.Notice, c.Name = int32(messagev1.NoticeType_NOTICE_TYPE_ROLE_CHANGED), roleWord(*f.Role)
	case f.MutedUntil != nil:
		c.Notice = int32(messagev1.NoticeType_NOTICE_TYPE_GROUP_CHANGED)
	}
	return c
}

// muteEnd returns when a mute ends, in milliseconds; one that would be over is none.
func (s *Service) muteEnd(t time.Time) time.Time {
	if !t.After(s.now()) {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}

// Transfer makes another member the owner and the caller an admin.
func (s *Service) Transfer(ctx context.Context, req *groupv1.TransferRequest) (*groupv1.GroupResponse, error) {
	me, id, target := calls.IdentityOf(ctx).UserID, chat.GroupID(req.GetGroupId()), chat.UserID(req.GetUserId())
	if err := checkTarget(req.GetGroupId(), req.GetUserId()); err != nil {
		return nil, err
	}
	err := s.change(ctx, id, me, func(ctx context.Context, g store.Group) (*change, error) {
		if err := s.owner(ctx, g, me); err != nil {
			return nil, err
		}
		if _, _, err := s.pair(ctx, g, me, target); err != nil {
			return nil, err
		}
		c := s.newChange(transferred, me, messagev1.NoticeType_NOTICE_TYPE_ROLE_CHANGED, target)
		c.Name = roleWord(int32(groupv1.Role_ROLE_OWNER))
		return c, nil
	})
	if err != nil {
		return nil, err
	}
	return s.changed(ctx, id, me)
}

// Dissolve ends a group for all. The group stays readable for those who were in it.
func (s *Service) Dissolve(ctx context.Context, req *groupv1.DissolveRequest) (*groupv1.DissolveResponse, error) {
	me := calls.IdentityOf(ctx).UserID
	if err := chat.CheckID("groupId", req.GetGroupId()); err != nil {
		return nil, err
	}
	err := s.change(ctx, chat.GroupID(req.GetGroupId()), me, func(ctx context.Context, g store.Group) (*change, error) {
		if err := s.owner(ctx, g, me); err != nil {
			return nil, err
		}
		users, err := s.members.PresentIDs(ctx, g.ID)
		if err != nil {
			return nil, fmt.Errorf("list members of group %s: %w", g.ID, err)
		}
		return s.newChange(dissolved, me, messagev1.NoticeType_NOTICE_TYPE_GROUP_DISSOLVED, users...), nil
	})
	if err != nil {
		return nil, err
	}
	return &groupv1.DissolveResponse{}, nil
}

// owner returns why me may not do what only g's owner may.
func (s *Service) owner(ctx context.Context, g store.Group, me chat.UserID) error {
	m, err := s.actor(ctx, g, me)
	if err == nil && m.Role != int32(groupv1.Role_ROLE_OWNER) {
		err = roleTooLow("only the owner does this")
	}
	return err
}

// Get returns a group of which the caller is or was a member.
func (s *Service) Get(ctx context.Context, req *groupv1.GetRequest) (*groupv1.GroupResponse, error) {
	if err := chat.CheckID("groupId", req.GetGroupId()); err != nil {
		return nil, err
	}
	return s.answer(ctx, chat.GroupID(req.GetGroupId()), calls.IdentityOf(ctx).UserID)
}
