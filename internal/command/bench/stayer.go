package bench

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
)

// stayer is what a connection's client knows.
type stayer struct {
	token  string
	heads  map[string]uint64 // by conversation, as a synchronisation told
	pushed map[string]bool   // clientMsgIds
}

func (m *stayer) learn(cs []*queryv1.Conversation) {
	for _, c := range cs {
		if m.heads == nil {
			m.heads = map[string]uint64{}
		}
		m.heads[c.GetConversationId()] = max(m.heads[c.GetConversationId()], c.GetHead().GetSeq())
	}
}

// hear notes a frame, and acknowledges it if it is an entry.
func (m *stayer) hear(c *conn, frame []byte) error {
	e, err := c.wire.parse(frame)
	if err != nil || e.kind != entry {
		return err
	}
	if m.pushed == nil {
		m.pushed = map[string]bool{}
	}
	m.pushed[string(e.clientMsgID)] = true
	c.got.Store(e.n)
	return c.ack(nil, 1)
}

// connect connects i, synchronises it, and notes what it was told.
func (s *stayers) connect(ctx context.Context, i, try int) (*conn, error) {
	var told wirev1.ConnectResponse
	me := &s.seen[i]
	since := me.token
	c, err := dialSince(ctx, s.at.socket(i+try), s.wire, s.accounts.all[i], crowdBuffer, since, &told)
	if err != nil {
		return nil, err
	}
	me.learn(told.GetConversations())
	token, next := told.GetSyncToken(), told.GetNextPageToken()
	if told.GetResync() {
		s.tally(&s.row.Resyncs)
	}
	if token == since { // it was let in although nobody could say what it missed
		s.tally(&s.row.Unsynced)
		token = ""
	}
	for token == "" || next != "" {
		var page queryv1.SyncResponse
		if err := c.call(ctx, "query.sync", &queryv1.SyncRequest{SyncToken: since, PageToken: next}, &page); err != nil {
			if !isRefused(err) || pause(ctx, time.Second/2+rand.N(time.Second)) != nil { //nolint:gosec // to spread clients, no secret
				c.close()
				return nil, err
			}
			continue
		}
		me.learn(page.GetConversations())
		token, next = page.GetSyncToken(), page.GetNextPageToken()
	}
	me.token, c.big = token, nil
	return c, nil
}

func isRefused(err error) bool {
	var no *refusal
	return errors.As(err, &no)
}
