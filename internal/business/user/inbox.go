package user

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// The kinds of change that tell somebody something. Relation.Pending is a kind and the change's own random id; both
// together are the clientMsgId of the entries, so that repeating them has no second effect.
const (
	pendingRequest = "request-"
	pendingAdded   = "added-"
)

// errPending says that a pair has a change which must be completed before the next one can be marked.
var errPending = errors.New("user: an earlier change of the pair is not completed")

// inbox completes changes that were stored: it appends their entries and takes the mark away.
type inbox struct {
	relations store.Relations
	messages  messagev1.MessageInternalServiceClient
	completed prometheus.Counter
	pending   prometheus.Gauge
}

// complete appends what r's change tells, where r is marked, and takes the mark away. It may run any number of times
// and at once in several places.
func (in *inbox) complete(ctx context.Context, rs ...store.Relation) error {
	for _, r := range rs {
		told := entries(r)
		if len(told) == 0 {
			continue
		}
		for _, e := range told {
			if _, err := in.messages.Append(ctx, &messagev1.AppendRequest{Entry: e}); err != nil {
				return fmt.Errorf("append %s to %s: %w", r.Pending, e.GetConversationId(), err)
			}
		}
		if err := in.unmark(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// unmark takes the mark of r's change away, unless there is a newer one. Nothing of it is cached.
func (in *inbox) unmark(ctx context.Context, r store.Relation) error {
	mine := false
	_, _, err := in.relations.Update(ctx, r.User, r.Peer, func(ab, _ *store.Relation) error {
		if mine = ab.Pending == r.Pending; mine {
			ab.Pending = ""
			forget(ab)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("unmark %s of %s: %w", r.Pending, r.User, err)
	}
	if mine {
		in.completed.Inc()
	}
	return nil
}

// forget drops the text of a request that was answered, once it is in the log.
func forget(r *store.Relation) {
	if r.RequestedAt.IsZero() && !strings.HasPrefix(r.Pending, pendingRequest) {
		r.RequestMessage = ""
	}
}

// entries returns what the change that r is marked with tells, nothing if it is not marked. r.User is who acted. A kind
// that is not known, from a newer version, is left to that version's sweep.
func entries(r store.Relation) []*messagev1.Entry {
	entry := func(owner chat.UserID) *messagev1.Entry {
		return &messagev1.Entry{
			ConversationId: string(chat.InboxID(owner)),
			ClientMsgId:    r.Pending,
			SenderId:       string(r.User),
		}
	}
	added := func(owner, friend chat.UserID) *messagev1.Entry {
		e := entry(owner)
		e.Kind = messagev1.EntryKind_ENTRY_KIND_FRIEND_ADDED
		e.Body = &messagev1.Entry_FriendAdded{FriendAdded: &messagev1.FriendAdded{UserId: string(friend)}}
		return e
	}
	switch {
	case strings.HasPrefix(r.Pending, pendingRequest):
		e := entry(r.Peer)
		e.Kind = messagev1.EntryKind_ENTRY_KIND_FRIEND_REQUEST
		e.Body = &messagev1.Entry_FriendRequest{FriendRequest: &messagev1.FriendRequest{
			UserId: string(r.User), Message: r.RequestMessage,
		}}
		return []*messagev1.Entry{e}
	case strings.HasPrefix(r.Pending, pendingAdded):
		return []*messagev1.Entry{added(r.Peer, r.User), added(r.User, r.Peer)}
	}
	return nil
}

// sweep completes what was left half-done, a page at a time. Changes that cannot be completed do not hold up the others.
// It returns the first failure.
func (in *inbox) sweep(ctx context.Context, page int) error {
	var failed error
	seen, after := 0, ""
	for {
		rs, err := in.relations.Pending(ctx, after, page)
		if err != nil {
			return fmt.Errorf("look for half-done changes: %w", err)
		}
		seen += len(rs)
		for _, r := range rs {
			if err := in.complete(ctx, r); failed == nil {
				failed = err
			}
			if ctx.Err() != nil {
				return failed
			}
			after = r.Pending
		}
		if len(rs) < page {
			break
		}
	}
	in.pending.Set(float64(seen))
	return failed
}
