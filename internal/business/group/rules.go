package group

import (
	"context"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// manages returns ROLE_TOO_LOW for plain members.
func manages(m store.Member) error {
	if m.Role < int32(groupv1.Role_ROLE_ADMIN) {
		return roleTooLow("only the owner and admins do this")
	}
	return nil
}

// above returns ROLE_TOO_LOW unless actor manages the group and has a higher role than m.
func above(actor, m store.Member) error {
	if err := manages(actor); err != nil {
		return err
	}
	if actor.Role <= m.Role {
		return roleTooLow("only with members of a lower role")
	}
	return nil
}

func roleTooLow(msg string) error { return fault.New(fault.RoleTooLow, "%s", msg) }

func noSuchMember() error { return fault.New(fault.NotFoundReason, "no such member") }

// roleWord is a role as notices name it.
func roleWord(role int32) string {
	switch groupv1.Role(role) {
	case groupv1.Role_ROLE_OWNER:
		return "owner"
	case groupv1.Role_ROLE_ADMIN:
		return "admin"
	default:
		return "member"
	}
}

// muted reports whether m's own mute holds now.
func (s *Service) muted(m store.Member) bool { return m.MutedUntil.After(s.now()) }

// checkIDs returns a broken rule for each id that is none.
func checkIDs(field string, ids []string) []fault.Field {
	var broken []fault.Field
	for i, id := range ids {
		if chat.ValidID(id) {
			continue
		}
		name := field
		if field == "memberIds" || field == "userIds" {
			name = fmt.Sprintf("%s[%d]", field, i)
		}
		if broken = append(broken, fault.Field{Field: name, Rule: "1 to 64 of A-Z a-z 0-9 _ -"}); len(broken) == maxBroken {
			break
		}
	}
	return broken
}

// maxBroken bounds how many broken elements of a list one answer names.
const maxBroken = 20

// checkTarget checks the ids of a request that names a member.
func checkTarget(group, user string) error {
	if broken := append(checkIDs("groupId", []string{group}), checkIDs("userId", []string{user})...); len(broken) > 0 {
		return fault.InvalidFields(broken...)
	}
	return nil
}

func (s *Service) checkName(field, name string, least int) []fault.Field {
	return checkText(field, name, least, s.cfg.MaxName)
}

func checkText(field, text string, least, most int) []fault.Field {
	if n := utf8.RuneCountInString(text); n >= least && n <= most && validText(text) {
		return nil
	}
	rule := fmt.Sprintf("%d to %d code points", least, most)
	if least == 0 {
		rule = fmt.Sprintf("at most %d code points", most)
	}
	return []fault.Field{{Field: field, Rule: rule}}
}

// validText keeps out what the log could never encode.
func validText(s string) bool { return utf8.ValidString(s) }

// answer returns a group as u sees it.
func (s *Service) answer(ctx context.Context, id chat.GroupID, u chat.UserID) (*groupv1.GroupResponse, error) {
	g, m, err := s.member(ctx, id, u)
	if err != nil {
		return nil, err
	}
	return &groupv1.GroupResponse{Group: &groupv1.Group{
		GroupId: string(g.ID), Name: g.Name, Avatar: g.Avatar, Description: g.Description, Announcement: g.Announcement,
		OwnerId: string(g.OwnerID), MemberCount: int32(g.MemberCount),
		JoinMode: groupv1.JoinMode(g.JoinMode), HistoryVisibility: groupv1.HistoryVisibility(g.HistoryVisibility),
		MuteAll: g.MuteAll, Role: groupv1.Role(m.Role), CreatedAt: timestamppb.New(g.CreatedAt),
	}}, nil
}

// changed is answer to a caller whose change is done: that it cannot be shown says nothing against it.
func (s *Service) changed(ctx context.Context, id chat.GroupID, u chat.UserID) (*groupv1.GroupResponse, error) {
	r, err := s.answer(ctx, id, u)
	return r, afterwards(err)
}

func afterwards(err error) error {
	if fault.CodeOf(err) == fault.Internal {
		return unsettled(err)
	}
	return err
}
