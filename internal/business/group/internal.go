package group

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// MaySend says whether a user may write to a group (GROUP-2). until is never set: a mute begins by a notice, which
// ends the answer by itself, and a muted member is refused.
func (s *Service) MaySend(ctx context.Context, req *groupv1.MaySendRequest) (*groupv1.MaySendResponse, error) {
	g, m, err := s.member(ctx, chat.GroupID(req.GetGroupId()), chat.UserID(req.GetUserId()))
	switch {
	case err != nil:
		return nil, err
	case !m.Present():
		return nil, notMember()
	case g.MuteAll && m.Role < int32(groupv1.Role_ROLE_ADMIN):
		return nil, fault.New(fault.Muted, "only the owner and admins write to this group now")
	case s.muted(m):
		return nil, fault.New(fault.Muted, "you are muted until %s", m.MutedUntil.UTC().Format(time.RFC3339))
	}
	return &groupv1.MaySendResponse{AsOfSeq: g.NoticeSeq}, nil
}

// Overtaken hears that the log has a newer notice than a permission knew. It has none that is neither pending nor stored
// here (G1), so such a notice is from before a back-up of the database was put back. Nobody could write to the group any
// more: a notice of this state's own makes it the newest one, and has members look at the group again.
func (s *Service) Overtaken(ctx context.Context, req *groupv1.OvertakenRequest) (*groupv1.OvertakenResponse, error) {
	id := chat.GroupID(req.GetGroupId())
	err := s.changeUnasked(ctx, id, func(ctx context.Context, g store.Group) (*change, error) {
		if g.NoticeSeq > req.GetAsOfSeq() || g.Dissolved {
			return nil, nil //nolint:nilnil // no change: the permission was older than what is stored
		}
		s.log.WarnContext(ctx, "the log has notices of a group that the database does not know, as after a back-up was put back: the group is as the database has it",
			obs.GroupID, string(id), "seq", g.NoticeSeq)
		c := s.newChange(edited, g.OwnerID, messagev1.NoticeType_NOTICE_TYPE_GROUP_CHANGED)
		c.Set = &groupFields{}
		return c, nil
	})
	if err != nil {
		return nil, err
	}
	if err := s.cache.drop(ctx, id); err != nil { // it may be older than the database
		return nil, fault.Wrap(err, fault.Overloaded, "the cache does not answer").After(time.Second)
	}
	return &groupv1.OvertakenResponse{}, nil
}

// GetMemberSet returns the ids of the present members, or of those at a seq.
func (s *Service) GetMemberSet(ctx context.Context, req *groupv1.GetMemberSetRequest) (*groupv1.GetMemberSetResponse, error) {
	id := chat.GroupID(req.GetGroupId())
	if !chat.ValidID(string(id)) {
		return nil, notFound()
	}
	var out *groupv1.GetMemberSetResponse
	err := s.consistent(ctx, id, func(g store.Group) error {
		read := s.memberSet
		if at := req.GetAtSeq(); at != 0 && at <= g.NoticeSeq {
			read = s.memberSetAt(at)
		}
		ids, err := read(ctx, g)
		out = &groupv1.GetMemberSetResponse{UserIds: ids, AsOfSeq: g.NoticeSeq, Name: g.Name}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// memberSetAt returns a function that returns who was a member at a seq. It is asked for when orchestrator meets a
// change of members with a cold set, which is rare; it is not cached.
func (s *Service) memberSetAt(seq uint64) func(context.Context, store.Group) ([]string, error) {
	return func(ctx context.Context, g store.Group) ([]string, error) {
		rows, err := s.members.Ever(ctx, g.ID)
		if err != nil {
			return nil, fmt.Errorf("list all who were in group %s: %w", g.ID, err)
		}
		var ids []string
		for _, m := range rows {
			if memberAt(m, seq) {
				ids = append(ids, string(m.UserID))
			}
		}
		return ids, s.still(ctx, g)
	}
}

// GetMembership returns a user's membership, or NOT_FOUND for strangers.
func (s *Service) GetMembership(ctx context.Context, req *groupv1.GetMembershipRequest) (*groupv1.GetMembershipResponse, error) {
	g, m, err := s.member(ctx, chat.GroupID(req.GetGroupId()), chat.UserID(req.GetUserId()))
	if err != nil {
		return nil, err
	}
	return &groupv1.GetMembershipResponse{Membership: membership(g, m)}, nil
}

func membership(g store.Group, m store.Member) *groupv1.Membership {
	last := m.Spans[len(m.Spans)-1]
	out := &groupv1.Membership{
		GroupId: string(g.ID), Name: g.Name, Avatar: g.Avatar, Role: groupv1.Role(m.Role), Visible: visible(m.Spans),
		JoinSeq: last.From, JoinOrdinal: last.FromOrdinal, ChangedAt: timestamppb.New(m.ChangedAt),
	}
	if last.To != 0 {
		out.LeaveOrdinal, out.LeftAt = last.ToOrdinal, timestamppb.New(last.ToAt)
	}
	return out
}

// visible returns spans as ranges; those that touch or overlap are one.
func visible(spans []store.Span) []*userv1.SeqRange {
	var out []*userv1.SeqRange
	for _, sp := range spans {
		n := len(out)
		if n == 0 || out[n-1].GetTo() != 0 && out[n-1].GetTo()+1 < sp.From {
			out = append(out, &userv1.SeqRange{From: sp.From, To: sp.To})
			continue
		}
		if last := out[n-1]; last.GetTo() != 0 && (sp.To == 0 || sp.To > last.GetTo()) {
			last.To = sp.To
		}
	}
	return out
}

// ListMemberships returns every group that a user is or was in.
func (s *Service) ListMemberships(ctx context.Context, req *groupv1.ListMembershipsRequest) (*groupv1.ListMembershipsResponse, error) {
	rows, groups, err := s.ofUser(ctx, chat.UserID(req.GetUserId()))
	if err != nil {
		return nil, err
	}
	out := &groupv1.ListMembershipsResponse{}
	for _, m := range rows {
		if g, ok := groups[m.GroupID]; ok && len(m.Spans) > 0 {
			out.Memberships = append(out.Memberships, membership(g, m))
		}
	}
	return out, nil
}

// ofUser returns a user's rows, and the groups that they are in.
func (s *Service) ofUser(ctx context.Context, u chat.UserID) ([]store.Member, map[chat.GroupID]store.Group, error) {
	if err := s.settleOf(ctx, u); err != nil {
		return nil, nil, err
	}
	rows, err := s.members.OfUser(ctx, u)
	if err != nil {
		return nil, nil, fmt.Errorf("list groups of %s: %w", u, err)
	}
	ids := make([]chat.GroupID, len(rows))
	for i, m := range rows {
		ids[i] = m.GroupID
	}
	groups := make(map[chat.GroupID]store.Group, len(ids))
	if len(ids) == 0 {
		return rows, groups, nil
	}
	gs, err := s.groups.Get(ctx, ids)
	if err != nil {
		return nil, nil, fmt.Errorf("load groups of %s: %w", u, err)
	}
	for _, g := range gs {
		groups[g.ID] = g
	}
	return rows, groups, nil
}

// settleOf completes every change that concerns u and was pending when it was asked. So what is read afterwards holds
// all changes whose notices were in the log then (G1): they were pending or stored. It is the store's list of pending
// changes that is asked, as u's own list lacks the group that u is just joining.
func (s *Service) settleOf(ctx context.Context, u chat.UserID) error {
	ids, err := s.groups.UnfinishedOf(ctx, u)
	if err != nil {
		return fmt.Errorf("list unfinished changes of %s: %w", u, err)
	}
	if len(ids) == 0 {
		return nil
	}
	groups, err := s.groups.Get(ctx, ids)
	if err != nil {
		return fmt.Errorf("load groups with unfinished changes: %w", err)
	}
	for _, g := range groups {
		if len(g.Pending) == 0 {
			continue // finished since
		}
		c, err := decodeChange(g.Pending)
		// What cannot be read, or concerns the group as a whole, is settled if the user is in it.
		if err != nil || c.Kind == edited || c.Kind == transferred {
			rows, err := s.rows(ctx, g.ID, []chat.UserID{u})
			if err != nil {
				return err
			}
			if len(rows) == 0 {
				continue
			}
		} else if !c.concerns(u) {
			continue
		}
		if _, err := s.current(ctx, g.ID); err != nil {
			return err
		}
	}
	return nil
}

// ShareGroup says which of the users are in a group with the user. It reads the member sets of the user's groups,
// which are cached, until all are found.
func (s *Service) ShareGroup(ctx context.Context, req *groupv1.ShareGroupRequest) (*groupv1.ShareGroupResponse, error) {
	rows, _, err := s.ofUser(ctx, chat.UserID(req.GetUserId()))
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]bool, len(req.GetUserIds())) // true: not found yet
	for _, id := range req.GetUserIds() {
		wanted[id] = true
	}
	missing := len(wanted)
	for _, m := range rows {
		if missing == 0 {
			break
		}
		if !m.Present() {
			continue
		}
		set, err := s.GetMemberSet(ctx, &groupv1.GetMemberSetRequest{GroupId: string(m.GroupID)})
		if err != nil {
			return nil, err
		}
		for _, id := range set.GetUserIds() {
			if wanted[id] {
				wanted[id] = false
				missing--
			}
		}
	}
	out := &groupv1.ShareGroupResponse{}
	for _, id := range req.GetUserIds() {
		if !wanted[id] && !slices.Contains(out.UserIds, id) {
			out.UserIds = append(out.UserIds, id)
		}
	}
	return out, nil
}
