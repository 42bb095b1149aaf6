package orchestrator

import (
	"container/list"
	"context"
	"fmt"
	"slices"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
)

// memberSet is who belongs to a group, as its log tells it. users is right for every entry with from ≤ seq ≤ at+1: at is
// the newest entry that was passed, and no notice since from has changed the set.
type memberSet struct {
	group    chat.GroupID
	users    []chat.UserID // ascending; never changed in place, as entries that were resolved share it
	from, at uint64
}

// holds reports whether m knows the members at seq. It does not after the reader was set back behind a change of
// members, or when another instance read on in between.
func (m *memberSet) holds(seq uint64) bool { return m.from <= seq && seq <= m.at+1 }

func (m *memberSet) weight() int { return len(m.users) + 8 }

// members is the member sets of one partition, bounded by the ids in them. One goroutine uses it.
type members struct {
	load  func(context.Context, chat.GroupID, uint64) ([]chat.UserID, error)
	max   int
	held  int
	sets  map[chat.GroupID]*list.Element
	order *list.List // of *memberSet, the last used first
}

func newMembers(limit int, load func(context.Context, chat.GroupID, uint64) ([]chat.UserID, error)) *members {
	return &members{load: load, max: limit, sets: map[chat.GroupID]*list.Element{}, order: list.New()}
}

// recipients returns who gets e, an entry of group g, and moves the group's set past it. Both ends of a membership are
// included: who joins gets the notice of it, and so does who leaves. The answer must not be changed.
func (m *members) recipients(ctx context.Context, g chat.GroupID, e *messagev1.Entry) ([]chat.UserID, error) {
	seq, n := e.GetSeq(), e.GetNotice()
	set, err := m.at(ctx, g, seq, n)
	if err != nil {
		return nil, err
	}
	before := set.weight()
	defer func() {
		set.at = max(set.at, seq)
		m.held += set.weight() - before
		m.trim()
	}()
	kind := n.GetType()
	if kind == messagev1.NoticeType_NOTICE_TYPE_MEMBER_JOINED {
		set.users, set.from = with(set.users, ids(n)), seq
	}
	users := set.users
	if kind == messagev1.NoticeType_NOTICE_TYPE_MEMBER_LEFT || kind == messagev1.NoticeType_NOTICE_TYPE_MEMBER_REMOVED {
		set.users, set.from = without(users, ids(n)), seq+1
	}
	if kind == messagev1.NoticeType_NOTICE_TYPE_GROUP_DISSOLVED {
		set.users, set.from = nil, seq+1
	}
	return users, nil
}

// at returns g's set, right for the entry at seq, whose notice is n if it is one.
func (m *members) at(ctx context.Context, g chat.GroupID, seq uint64, n *messagev1.Notice) (*memberSet, error) {
	el := m.sets[g]
	if el != nil {
		m.order.MoveToFront(el)
		if set := el.Value.(*memberSet); set.holds(seq) {
			return set, nil
		}
	}
	var users []chat.UserID
	var err error
	if n.GetType() == messagev1.NoticeType_NOTICE_TYPE_GROUP_CREATED {
		users = with(nil, append(ids(n), chat.UserID(n.GetActorId())))
	} else if users, err = m.load(ctx, g, seq); err != nil {
		return nil, err
	}
	if el == nil {
		el = m.order.PushFront(&memberSet{group: g})
		m.sets[g] = el
		m.held += el.Value.(*memberSet).weight()
	}
	set := el.Value.(*memberSet)
	m.held += len(users) - len(set.users)
	set.users, set.from, set.at = users, seq, seq-1
	return set, nil
}

// trim forgets the sets unused for longest. The last one stays, however large it is.
func (m *members) trim() {
	for m.held > m.max && m.order.Len() > 1 {
		set := m.order.Remove(m.order.Back()).(*memberSet)
		m.held -= set.weight()
		delete(m.sets, set.group)
	}
}

// ids returns whom a change of members names; one who left by itself may be named as the actor only.
func ids(n *messagev1.Notice) []chat.UserID {
	out := make([]chat.UserID, 0, len(n.GetUserIds())+1)
	for _, u := range n.GetUserIds() {
		out = append(out, chat.UserID(u))
	}
	if len(out) == 0 && n.GetActorId() != "" {
		out = append(out, chat.UserID(n.GetActorId()))
	}
	return out
}

func with(users, more []chat.UserID) []chat.UserID {
	out := slices.Concat(users, more)
	slices.Sort(out)
	return slices.Compact(slices.DeleteFunc(out, func(u chat.UserID) bool { return u == "" }))
}

func without(users, gone []chat.UserID) []chat.UserID {
	out := slices.Clone(users)
	return slices.DeleteFunc(out, func(u chat.UserID) bool { return slices.Contains(gone, u) })
}

// loadMembers asks group who was a member at seq. A group that does not exist has no members; as its log has entries,
// that is an alarm.
func (s *Service) loadMembers(ctx context.Context, g chat.GroupID, seq uint64) ([]chat.UserID, error) {
	s.m.loads.Inc()
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	a, err := s.groups.GetMemberSet(ctx, &groupv1.GetMemberSetRequest{GroupId: string(g), AtSeq: seq})
	if fault.IsReason(err, fault.NotFoundReason) {
		s.m.alarm.WithLabelValues("unknown_group").Inc()
		if n, ok := s.quiet.Allow("unknown group"); ok {
			s.log.ErrorContext(ctx, "the log has entries of a group that group does not know; they reach nobody",
				obs.GroupID, g, obs.Suppressed, n)
		}
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the members of group %s at %d: %w", g, seq, err)
	}
	users := make([]chat.UserID, len(a.GetUserIds()))
	for i, u := range a.GetUserIds() {
		users[i] = chat.UserID(u)
	}
	slices.Sort(users)
	return slices.Compact(users), nil
}
