package group

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// group returns a group with every change whose notice is in the log, from the cache if it can.
func (s *Service) group(ctx context.Context, id chat.GroupID) (store.Group, error) {
	val, lease := s.cache.get(ctx, groupKey(id))
	var g store.Group
	if val != nil && json.Unmarshal(val, &g) == nil {
		return g, nil
	}
	old, keep := s.cache.kept(ctx, id)
	g, err := s.unlessAway(ctx, id, old)
	if errors.Is(err, errAway) {
		return old.Group, nil
	}
	if err == nil {
		g, err = s.currentOf(ctx, g)
	}
	if err == nil && len(g.Pending) == 0 {
		s.cache.fillJSON(ctx, groupKey(id), lease, g, s.cache.ttl)
		s.cache.keep(ctx, g, keep, old, func() (store.Group, error) { return s.load(ctx, id) })
	}
	return g, err
}

// errMoved says that the group changed while its members were read.
var errMoved = errors.New("group: changed while it was read")

// consistent calls read with a group until what read took from the database is of the group's version.
func (s *Service) consistent(ctx context.Context, id chat.GroupID, read func(store.Group) error) error {
	for n := range attempts {
		if err := pause(ctx, n); err != nil {
			return err
		}
		g, err := s.group(ctx, id)
		if err != nil {
			return err
		}
		if err := read(g); !errors.Is(err, errMoved) {
			return err
		}
		if err := s.cache.drop(ctx, id); err != nil { // should it be the cache that is behind
			s.cache.warn(ctx, "a group that has changed is not dropped", err)
		}
	}
	return busy()
}

// still returns errMoved if the group is not at g's version any more, or is about to leave it: rows read since g was
// read may then be of another version.
func (s *Service) still(ctx context.Context, g store.Group) error {
	now, err := s.load(ctx, g.ID)
	if err != nil {
		return err
	}
	if now.Version != g.Version || len(now.Pending) > 0 && len(g.Pending) == 0 {
		return errMoved
	}
	return nil
}

// member returns a group and a user's row in it, both of one version. A user that never was a member gets NOT_FOUND,
// as for a group that is not there.
func (s *Service) member(ctx context.Context, id chat.GroupID, u chat.UserID) (g store.Group, m store.Member, err error) {
	if !chat.ValidID(string(id)) || !chat.ValidID(string(u)) {
		return g, m, notFound()
	}
	err = s.consistent(ctx, id, func(now store.Group) error {
		g = now
		m, err = s.memberOf(ctx, now, u)
		return err
	})
	if err == nil && len(m.Spans) == 0 {
		err = notFound()
	}
	return g, m, err
}

// memberOf returns a user's row of g's version; the zero Member if there is none.
func (s *Service) memberOf(ctx context.Context, g store.Group, u chat.UserID) (store.Member, error) {
	var m store.Member
	val, put := s.cache.ofVersion(ctx, memberKey(g.ID, u), g)
	if val != nil && json.Unmarshal(val, &m) == nil {
		return m, nil
	}
	rows, err := s.rows(ctx, g.ID, []chat.UserID{u})
	if err != nil {
		return m, err
	}
	if err := s.still(ctx, g); err != nil {
		return m, err
	}
	m = rows[u]
	if data, err := json.Marshal(m); err == nil && len(g.Pending) == 0 {
		put(data)
	}
	return m, nil
}

// present is member for a user that must be one now: others get NOT_FOUND or, if they were, NOT_MEMBER.
func (s *Service) present(ctx context.Context, id chat.GroupID, u chat.UserID) (store.Member, error) {
	_, m, err := s.member(ctx, id, u)
	if err == nil && !m.Present() {
		err = notMember()
	}
	return m, err
}

// memberSet returns the ids of the present members of g's version.
func (s *Service) memberSet(ctx context.Context, g store.Group) ([]string, error) {
	val, put := s.cache.ofVersion(ctx, setKey(g.ID), g)
	if val != nil {
		return splitIDs(string(val)), nil
	}
	users, err := s.members.PresentIDs(ctx, g.ID)
	if err != nil {
		return nil, fmt.Errorf("list members of group %s: %w", g.ID, err)
	}
	if err := s.still(ctx, g); err != nil {
		return nil, err
	}
	ids := idStrings(users)
	if len(g.Pending) == 0 {
		put([]byte(strings.Join(ids, ",")))
	}
	return ids, nil
}

func splitIDs(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func idStrings(users []chat.UserID) []string {
	ids := make([]string, len(users))
	for i, u := range users {
		ids[i] = string(u)
	}
	return ids
}

func notFound() error { return fault.New(fault.NotFoundReason, "no such group") }

func notMember() error {
	return fault.New(fault.NotMember, "you are not a member of this group any more")
}
