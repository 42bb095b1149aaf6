package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
)

const (
	pageSize  = 100
	pageTries = 50
)

// readHeads notes where each conversation ends before a run; one that does not exist yet ends at 0.
func readHeads(ctx context.Context, at doors, wire codec, rooms []room, led *ledger) error {
	return inParallel(ctx, parallel, len(rooms), func(ctx context.Context, i int) error {
		c, err := dial(ctx, at.socket(i), wire, rooms[i].members[0], 4<<10)
		if err != nil {
			return err
		}
		defer c.close()
		var out queryv1.ConversationResponse
		err = c.patient(ctx, "query.getConversation", &queryv1.GetConversationRequest{ConversationId: rooms[i].id}, &out)
		var no *refusal
		if errors.As(err, &no) && no.reason == "NOT_FOUND" {
			return nil
		}
		led.convs[i].base = out.GetConversation().GetHead().GetSeq()
		return err
	})
}

// readBack reads what history has of each conversation since the run began.
func readBack(ctx context.Context, at doors, wire codec, rooms []room, led *ledger) error {
	err := inParallel(ctx, parallel, len(rooms), func(ctx context.Context, i int) error {
		c, err := dial(ctx, at.socket(i), wire, rooms[i].members[0], 16<<10)
		if err != nil {
			return err
		}
		defer c.close()
		led.convs[i].stored, err = c.history(ctx, rooms[i], led.convs[i].base)
		return err
	})
	if err != nil {
		return fmt.Errorf("read what is stored: %w", err)
	}
	return nil
}

func (c *conn) history(ctx context.Context, r room, after uint64) ([]storedEntry, error) {
	member := make(map[string]int, len(r.members))
	for i, m := range r.members {
		member[m.UserID] = i
	}
	var out []storedEntry
	for {
		var page queryv1.EntriesResponse
		req := &queryv1.HistoryRequest{ConversationId: r.id, AfterSeq: new(after), Limit: new(int32(pageSize))}
		if err := c.patient(ctx, "query.history", req, &page); err != nil {
			return nil, err
		}
		for _, e := range page.GetEntries() {
			s := storedEntry{seq: e.GetSeq(), id: e.GetMessageId(), clientMsgID: e.GetClientMsgId(), sender: -1}
			if i, ok := member[e.GetSenderId()]; ok {
				s.sender = i
			}
			out = append(out, s)
		}
		if !page.GetHasMore() || page.GetToSeq() <= after {
			return out, nil
		}
		after = page.GetToSeq()
	}
}

// patient is call for a server that limits how much one user may ask.
func (c *conn) patient(ctx context.Context, method string, params, into proto.Message) error {
	for try := 1; ; try++ {
		err := c.call(ctx, method, params, into)
		var no *refusal
		if !errors.As(err, &no) || no.reason != "RATE_LIMITED" || try == pageTries {
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}
