// Package stored gives the log what it reads of the database: it joins convlog's own small interface to the store of
// entries. It is the hall's, which alone knows both, and a package of its own so that tests of the log run on it too. It
// keeps nothing.
package stored

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Of returns what the log reads of db.
func Of(db store.Log) convlog.Stored { return stored{db} }

type stored struct{ db store.Log }

var _ convlog.Stored = stored{}

// Head returns a conversation's stored head.
func (s stored) Head(ctx context.Context, c chat.ConversationID) (convlog.Head, error) {
	heads, err := s.db.Heads(ctx, []chat.ConversationID{c})
	if err != nil || len(heads) == 0 {
		return convlog.Head{}, err
	}
	h := heads[0]
	return convlog.Head{Seq: h.Seq, Ordinal: h.Ordinal, NoticeSeq: h.NoticeSeq, SentAt: h.SentAt.UnixMilli(), Position: h.Position}, nil
}

// Find returns the newest stored entry with that id; entries that only share its hash are passed over.
func (s stored) Find(ctx context.Context, sender chat.UserID, c chat.ConversationID, clientMsgID string) (*flowv1.LogEntry, error) {
	entries, err := s.db.ByDedupe(ctx, c, convlog.Dedupe(sender, c, clientMsgID))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		var le flowv1.LogEntry
		if err := proto.Unmarshal(e.Data, &le); err != nil {
			return nil, fmt.Errorf("decode %s seq %d: %w", c, e.Seq, err)
		}
		if le.GetEntry().GetSenderId() == string(sender) && le.GetEntry().GetClientMsgId() == clientMsgID {
			return &le, nil
		}
	}
	return nil, nil
}

// Mark returns a partition's mark.
func (s stored) Mark(ctx context.Context, partition int) (convlog.Mark, error) {
	m, err := s.db.Mark(ctx, partition)
	return convlog.Mark(m), err
}

// MoveMark moves it by compare-and-set.
func (s stored) MoveMark(ctx context.Context, partition int, from, to convlog.Mark, raise bool) (bool, error) {
	err := s.db.MoveMark(ctx, partition, store.Mark(from), store.Mark(to), raise)
	if errors.Is(err, store.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// Epoch returns the log's epoch.
func (s stored) Epoch(ctx context.Context) (uint64, error) { return s.db.Epoch(ctx) }
