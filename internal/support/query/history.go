package query

import (
	"context"
	"math"
	"time"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/permit"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// History returns a page of content, ascending, with the range of seqs that it covers.
func (s *Service) History(ctx context.Context, req *queryv1.HistoryRequest) (*queryv1.EntriesResponse, error) {
	limit, err := chat.PageSize("limit", req.Limit)
	if err != nil {
		return nil, err
	}
	if n := bounds(req); n > 1 {
		return nil, fault.InvalidField("afterSeq", "at most one of afterSeq, beforeSeq, aroundSeq, atTime")
	}
	if req.GetAtTime() != nil && req.GetAtTime().CheckValid() != nil {
		return nil, fault.InvalidField("atTime", "a time between the years 1 and 9999")
	}
	scope, err := s.scope(ctx, req.GetConversationId())
	if err != nil {
		return nil, err
	}
	switch {
	case req.AfterSeq != nil:
		return s.page(ctx, scope, saturated(req.GetAfterSeq()), math.MaxInt64, limit, maxAnswer, false)
	case req.BeforeSeq != nil:
		return s.page(ctx, scope, 1, max(req.GetBeforeSeq(), 1)-1, limit, maxAnswer, true)
	case req.AroundSeq != nil:
		return s.around(ctx, scope, req.GetAroundSeq(), limit)
	case req.GetAtTime() != nil:
		at, err := s.seqAt(ctx, scope, req.GetAtTime().AsTime())
		if err != nil || at == 0 {
			return &queryv1.EntriesResponse{}, err
		}
		return s.around(ctx, scope, at, limit)
	}
	return s.page(ctx, scope, 1, math.MaxInt64, limit, maxAnswer, true)
}

// saturated returns the seq after after.
func saturated(after uint64) uint64 { return min(after, math.MaxInt64-1) + 1 }

func bounds(req *queryv1.HistoryRequest) int {
	n := 0
	for _, set := range []bool{req.AfterSeq != nil, req.BeforeSeq != nil, req.AroundSeq != nil, req.GetAtTime() != nil} {
		if set {
			n++
		}
	}
	return n
}

// Entries returns the raw log after a seq.
func (s *Service) Entries(ctx context.Context, req *queryv1.EntriesRequest) (*queryv1.EntriesResponse, error) {
	limit, err := chat.PageSize("limit", req.Limit)
	if err != nil {
		return nil, err
	}
	scope, err := s.scope(ctx, req.GetConversationId())
	if err != nil {
		return nil, err
	}
	return s.page(ctx, scope, saturated(req.GetAfterSeq()), math.MaxInt64, limit, maxAnswer, false)
}

func (s *Service) scope(ctx context.Context, id string) (permit.Scope, error) {
	c, err := chat.ParseConversationID("conversationId", id)
	if err != nil {
		return permit.Scope{}, err
	}
	return s.gate.Authorise(ctx, calls.IdentityOf(ctx).UserID, c, permit.Read)
}

// page returns at most limit entries, of at most budget bytes, between from and to, both included: the newest ones if
// newest, else the oldest.
func (s *Service) page(ctx context.Context, scope permit.Scope, from, to uint64, limit, budget int, newest bool) (*queryv1.EntriesResponse, error) {
	entries, more, err := s.between(ctx, scope, from, to, limit+1, newest)
	if err != nil || len(entries) == 0 {
		return &queryv1.EntriesResponse{}, err
	}
	if entries, err = s.shown(ctx, scope, entries); err != nil {
		return nil, err
	}
	read := len(entries)
	if read > limit && newest {
		entries = entries[1:]
	} else if read > limit {
		entries = entries[:limit]
	}
	if entries, err = fit(entries, budget, newest); err != nil {
		return nil, err
	}
	return covered(&queryv1.EntriesResponse{HasMore: more || len(entries) < read}, entries), nil
}

// shown returns what the user may see of entries that were read. It asks again: now that they are read, the owners
// know of every removal and block that stands before them (invariant 4).
func (s *Service) shown(ctx context.Context, scope permit.Scope, entries []*messagev1.Entry) ([]*messagev1.Entry, error) {
	scope, err := s.gate.Authorise(ctx, scope.User, scope.Conversation, permit.Read)
	if err != nil {
		return nil, err
	}
	for i, e := range entries {
		entries[i] = show(scope, e)
	}
	return entries, nil
}

// around returns a page with seq in its middle, or what is nearest to it.
func (s *Service) around(ctx context.Context, scope permit.Scope, seq uint64, limit int) (*queryv1.EntriesResponse, error) {
	seq = max(min(seq, math.MaxInt64-1), scope.First())
	older, err := s.page(ctx, scope, 1, seq, (limit+1)/2, maxAnswer/2, true)
	if err != nil {
		return nil, err
	}
	if limit == 1 {
		return older, nil
	}
	newer, err := s.page(ctx, scope, older.GetToSeq()+1, math.MaxInt64, limit/2, maxAnswer/2, false)
	if err != nil {
		return nil, err
	}
	out := &queryv1.EntriesResponse{HasMore: older.GetHasMore() || newer.GetHasMore()}
	return covered(out, append(older.GetEntries(), newer.GetEntries()...)), nil
}

func covered(out *queryv1.EntriesResponse, entries []*messagev1.Entry) *queryv1.EntriesResponse {
	if out.Entries = entries; len(entries) > 0 {
		out.FromSeq, out.ToSeq = entries[0].GetSeq(), entries[len(entries)-1].GetSeq()
	}
	return out
}

// seqAt returns the seq of the first entry sent at or after a time, or the last one's; 0 if there is none at all.
func (s *Service) seqAt(ctx context.Context, scope permit.Scope, at time.Time) (uint64, error) {
	newest, _, err := s.between(ctx, scope, 1, math.MaxInt64, 1, true)
	if err != nil || len(newest) == 0 {
		return 0, err
	}
	tail, err := s.messages.ReadTail(ctx, &messagev1.ReadTailRequest{
		ConversationId: string(scope.Conversation), FromSeq: 1, ToSeq: math.MaxInt64, Limit: 1,
	})
	if err != nil {
		return 0, err
	}
	seq, err := s.db.FirstAt(ctx, scope.Conversation, at)
	if err != nil {
		return 0, s.unread(ctx, err, "find the entry of %s at %s", scope.Conversation, at)
	}
	if last := newest[0].GetSeq(); seq == 0 && len(tail.GetEntries()) > 0 {
		return s.unstoredAt(ctx, scope, max(tail.GetEntries()[0].GetSeq(), scope.First()), last, at)
	} else if seq == 0 || seq > last {
		return last, nil
	}
	return seq, nil
}

// unstoredAt is seqAt between two seqs, in the tail when it was asked. As sentAt never falls it halves the range again
// and again.
func (s *Service) unstoredAt(ctx context.Context, scope permit.Scope, from, to uint64, at time.Time) (uint64, error) {
	for from < to {
		mid := from + (to-from)/2
		e, _, err := s.between(ctx, scope, mid, mid, 1, false)
		if err != nil {
			return 0, err
		}
		if len(e) > 0 && e[0].GetSentAt().AsTime().Before(at) {
			from = mid + 1
		} else {
			to = mid
		}
	}
	return to, nil
}
