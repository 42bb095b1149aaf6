package user

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// A search's answer is the exact matches and then those by nickname, in the order of their ids. Its cursor says after
// which element to go on: "e" and how many exact matches were given, or "n" and the id of the last one by nickname.
type hit struct {
	user   *userv1.User
	cursor string
}

// Search finds users by exact id and username, and by nickname where a user's settings allow; each once.
func (s *Service) Search(ctx context.Context, r *userv1.SearchRequest) (*userv1.SearchResponse, error) {
	actor, err := me(ctx)
	if err != nil {
		return nil, err
	}
	var b broken
	query := b.line("query", r.GetQuery(), maxQuery)
	if query == "" {
		b.add("query", "not empty")
	}
	p := b.page("search", r.PageSize, r.GetPageToken())
	skip, after := b.searchCursor(p.after)
	if err := b.err(); err != nil {
		return nil, err
	}
	hits, err := s.search(ctx, actor, query, skip, after, p.size+1)
	if err != nil {
		return nil, err
	}
	resp := &userv1.SearchResponse{}
	if len(hits) > p.size {
		hits = hits[:p.size]
		resp.NextPageToken = p.next(hits[p.size-1].cursor)
	}
	for _, h := range hits {
		resp.Users = append(resp.Users, h.user)
	}
	return resp, nil
}

// searchCursor returns how many exact matches to skip, and after which id to go on by nickname.
func (b *broken) searchCursor(cursor string) (skip int, after chat.UserID) {
	switch {
	case cursor == "":
		return 0, ""
	case cursor == "e1" || cursor == "e2":
		return int(cursor[1] - '0'), ""
	case cursor[0] == 'n' && chat.ValidID(cursor[1:]):
		return maxExact, chat.UserID(cursor[1:])
	}
	b.badToken()
	return 0, ""
}

// maxExact is how many users one word can name: one by username, one by id.
const maxExact = 2

// search returns up to want hits, if there are so many.
func (s *Service) search(ctx context.Context, actor chat.UserID, query string, skip int, after chat.UserID, want int) ([]hit, error) {
	friends, err := s.pairs.store.FriendIDs(ctx, actor)
	if err != nil {
		return nil, fmt.Errorf("load friends of user %s: %w", actor, err)
	}
	exact, err := s.exact(ctx, query)
	if err != nil {
		return nil, err
	}
	var hits []hit
	for i, p := range exact {
		if i >= skip {
			hits = append(hits, hit{public(p), fmt.Sprintf("e%d", i+1)})
		}
	}
	found, err := s.people.store.ByNickname(ctx, query, friends, after, want+maxExact)
	if err != nil {
		return nil, fmt.Errorf("search users by nickname: %w", err)
	}
	for _, p := range found {
		same := func(e store.Profile) bool { return e.UserID == p.UserID }
		if !slices.ContainsFunc(exact, same) {
			hits = append(hits, hit{public(p), "n" + string(p.UserID)})
		}
	}
	return hits[:min(len(hits), want)], nil
}

// exact returns who has query as username or as id: who knows one of them has met its owner.
func (s *Service) exact(ctx context.Context, query string) ([]store.Profile, error) {
	var exact []store.Profile
	p, err := s.people.store.ByUsername(ctx, strings.ToLower(query))
	switch {
	case err == nil:
		exact = append(exact, p)
	case !errors.Is(err, store.ErrNotFound):
		return nil, fmt.Errorf("search users by username: %w", err)
	}
	if !chat.ValidID(query) || len(exact) > 0 && string(p.UserID) == query {
		return exact, nil
	}
	byID, err := s.people.store.Get(ctx, []chat.UserID{chat.UserID(query)})
	if err != nil {
		return nil, fmt.Errorf("search users by id: %w", err)
	}
	return append(exact, byID...), nil
}
