package fakeserver

import (
	"fmt"
	"maps"
	"slices"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
)

func (u *user) public() *userv1.User {
	return &userv1.User{UserId: u.id, Username: u.name, Nickname: u.nickname}
}

// byID returns a user, or nil. s.mu is held.
func (s *Server) byID(id string) *user {
	for _, u := range s.users {
		if u.id == id {
			return u
		}
	}
	return nil
}

func (c *conn) getUser(req *userv1.GetRequest) (*userv1.UserResponse, error) {
	u := c.s.byID(req.GetUserId())
	if u == nil {
		return nil, failure("NOT_FOUND", "NOT_FOUND", 0)
	}
	return &userv1.UserResponse{User: u.public()}, nil
}

func (c *conn) searchUsers(req *userv1.SearchRequest) (*userv1.SearchResponse, error) {
	out := &userv1.SearchResponse{}
	for _, u := range c.s.users {
		if u.name == req.GetQuery() || u.id == req.GetQuery() {
			out.Users = append(out.Users, u.public())
		}
	}
	return out, nil
}

func (c *conn) createGroup(req *groupv1.CreateRequest) (*groupv1.GroupResponse, error) {
	for _, id := range req.GetMemberIds() {
		if c.s.byID(id) == nil {
			return nil, failure("NOT_FOUND", "NOT_FOUND", 0)
		}
	}
	id := fmt.Sprintf("g%d", len(c.s.convs)+1)
	conv := c.s.conversation("g~"+id, append(req.GetMemberIds(), c.user)...)
	conv.title = req.GetName()
	c.notice(conv, messagev1.NoticeType_NOTICE_TYPE_GROUP_CREATED, slices.Sorted(maps.Keys(conv.members)))
	return &groupv1.GroupResponse{Group: &groupv1.Group{
		GroupId: id, Name: conv.title, OwnerId: c.user, MemberCount: int32(len(conv.members)), Role: groupv1.Role_ROLE_OWNER,
	}}, nil
}

func (c *conn) addMembers(req *groupv1.AddMembersRequest) (*groupv1.AddMembersResponse, error) {
	conv, err := c.mine("g~" + req.GetGroupId())
	if err != nil {
		return nil, err
	}
	c.s.conversation(conv.id, req.GetUserIds()...)
	c.notice(conv, messagev1.NoticeType_NOTICE_TYPE_MEMBER_JOINED, req.GetUserIds())
	return &groupv1.AddMembersResponse{}, nil
}

func (c *conn) listMembers(req *groupv1.ListMembersRequest) (*groupv1.ListMembersResponse, error) {
	conv, err := c.mine("g~" + req.GetGroupId())
	if err != nil {
		return nil, err
	}
	out := &groupv1.ListMembersResponse{}
	for _, id := range slices.Sorted(maps.Keys(conv.members)) {
		out.Members = append(out.Members, &groupv1.Member{User: c.s.byID(id).public(), Role: groupv1.Role_ROLE_MEMBER})
	}
	return out, nil
}

func (c *conn) notice(conv *conversation, kind messagev1.NoticeType, users []string) {
	c.s.add(conv, &messagev1.Entry{Kind: messagev1.EntryKind_ENTRY_KIND_NOTICE, Body: &messagev1.Entry_Notice{
		Notice: &messagev1.Notice{Type: kind, ActorId: c.user, UserIds: users, Name: conv.title},
	}})
}
