package query

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"time"

	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// syncToken says what a client has seen: the log's epoch, the position of every partition, and the time for what is
// no entry (cursors, memberships).
type syncToken struct {
	Epoch     uint64   `json:"e"`
	Positions []uint64 `json:"p"`
	Time      int64    `json:"t"` // ms
}

// overlap is how far back in time a sync looks for what is no entry: clocks of instances may differ. Telling a client
// twice is harmless, as it gets full objects.
const overlap = 10 * time.Second

// pageToken says where a page ended. Sync is the sync token that the first page was given.
type pageToken struct {
	SentAt int64  `json:"s"`
	ID     string `json:"i"`
	Sync   string `json:"y,omitempty"`
}

func (t pageToken) String() string {
	if t.ID == "" {
		return ""
	}
	return encode(t)
}

func (t *pageToken) parse(field, s string) error {
	if s == "" {
		return nil
	}
	if err := parse(field, s, t); err != nil {
		return err
	}
	if t.ID == "" {
		return fault.InvalidField(field, "a token from an earlier answer")
	}
	return nil
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "" // plain numbers and strings
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parse(field, s string, v any) error {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fault.InvalidField(field, "a token from an earlier answer")
	}
	return nil
}

// Sync returns the conversations that changed since a token, newest activity first. The new token is taken before
// anything is read, so what changes meanwhile is told again the next time and never missed.
func (s *Service) Sync(ctx context.Context, req *queryv1.SyncRequest) (*queryv1.SyncResponse, error) {
	var old syncToken
	var from pageToken
	if req.GetSyncToken() != "" {
		if err := parse("syncToken", req.GetSyncToken(), &old); err != nil {
			return nil, err
		}
	}
	if err := from.parse("pageToken", req.GetPageToken()); err != nil {
		return nil, err
	}
	at, err := s.stands.get(ctx)
	if err != nil {
		return nil, err
	}
	fresh := encode(syncToken{Epoch: at.GetEpoch(), Positions: at.GetPositions(), Time: s.now().UnixMilli()})
	if from.Sync != "" {
		fresh = from.Sync
	}
	from.Sync = fresh
	out := &queryv1.SyncResponse{Epoch: at.GetEpoch(), SyncToken: fresh}
	known := req.GetSyncToken() != ""
	if known && (old.Epoch != at.GetEpoch() || len(old.Positions) != len(at.GetPositions())) {
		out.Resync, known = true, false // positions of another log say nothing: everything is told
	}
	me := calls.IdentityOf(ctx).UserID
	all, err := s.outlines(ctx, me)
	if err != nil {
		return nil, err
	}
	if known {
		if all, err = s.changedSince(ctx, me, all, old); err != nil {
			return nil, err
		}
	}
	var next pageToken
	if out.Conversations, next, err = s.listing(ctx, me, all, from, chat.MaxPage); err != nil {
		return nil, err
	}
	out.NextPageToken = next.String()
	return out, nil
}

// changedSince keeps what has a newer entry than the token, or a cursor (own or the peer's) or membership changed since.
func (s *Service) changedSince(ctx context.Context, me chat.UserID, all []outline, old syncToken) ([]outline, error) {
	own, err := s.db.Cursors(ctx, me, conversations(all))
	if err != nil {
		return nil, s.unread(ctx, err, "read cursors of %s", me)
	}
	peers, err := s.db.PeerCursors(ctx, me, directs(all))
	if err != nil {
		return nil, s.unread(ctx, err, "read cursors of the peers of %s", me)
	}
	since := time.UnixMilli(old.Time).Add(-overlap)
	moved := map[chat.ConversationID]bool{}
	for _, c := range append(own, peers...) {
		if c.ChangedAt.After(since) {
			moved[c.ConversationID] = true
		}
	}
	return slices.DeleteFunc(all, func(o outline) bool {
		newer := o.position > old.Positions[o.Conversation.Partition(len(old.Positions))]
		return !newer && !moved[o.Conversation] && !o.changed.After(since)
	}), nil
}
