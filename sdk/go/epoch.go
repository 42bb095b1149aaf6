package oceanchat

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

// This file brings a client to a log of a higher epoch: one that may have lost its newest entries, whose numbers others
// have by now. What is held above a conversation's head is gone. What is held below it is compared with the server's,
// as others may have written since: a seq alone does not tell (the same question as a replica's in Kafka's KIP-101).

// lost reports whether the server's log is another one than the entries are of.
func (c *Client) lost(p syncPage) bool {
	return p.resync || c.meta.Epoch != 0 && p.epoch != c.meta.Epoch
}

// judge returns, by conversation of a page, the last seq up to which what is held may stay; nil if no log was lost. The
// new epoch is stored only behind that, so a client that breaks off judges again.
func (c *Client) judge(s *session, p syncPage, lost bool) (map[string]uint64, error) {
	if !lost {
		return nil, nil
	}
	var mu sync.Mutex // guards lasts
	lasts := map[string]uint64{}
	g, ctx := errgroup.WithContext(s.ctx)
	g.SetLimit(maxPulls)
	for _, info := range p.conversations {
		g.Go(func() error {
			last, err := c.common(ctx, s, info.GetConversationId(), info.GetHead().GetSeq())
			mu.Lock()
			defer mu.Unlock()
			lasts[info.GetConversationId()] = last
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("compare with the log of the new epoch: %w", err)
	}
	return lasts, nil
}

// common returns the last seq, head at most, up to which client and server have the same. What a log loses is the newest
// that it had, so the look begins at the newest that is held, and goes back until a page is the same. A page and not an
// entry: on a connection that outlived the loss something new may have come behind what was lost.
func (c *Client) common(ctx context.Context, s *session, id string, head uint64) (uint64, error) {
	c.mu.Lock()
	var held store.Ranges
	if cv := c.convs[id]; cv != nil {
		held = cv.log.Held()
	}
	c.mu.Unlock()
	last := head
	for to := head; ; {
		if held = held.Truncate(to); len(held) == 0 {
			return last, nil
		}
		to = held[len(held)-1].To
		after := to - min(to, pullPage)
		differs, alike, err := c.compare(ctx, s, id, after, to)
		if err != nil || alike {
			return last, err
		}
		if differs > 0 {
			last = differs - 1
		}
		to = after
	}
}

// compare compares what the store has above after, to at most, with what the server has. It returns the first seq at
// which they differ, 0 for none, and whether they are alike; they are not if the store has no entry there.
func (c *Client) compare(ctx context.Context, s *session, id string, after, to uint64) (differs uint64, alike bool, err error) {
	ours, err := c.store.Entries(ctx, id, after, int(to-after))
	if err != nil {
		return 0, false, fmt.Errorf("read the store: %w", err)
	}
	for len(ours) > 0 && ours[0].GetSeq() <= to {
		r, err := c.insist(ctx, s, id, ours[0].GetSeq()-1)
		if err != nil || r.GetToSeq() < ours[0].GetSeq() {
			return 0, err == nil, err // nothing that the user may see any more
		}
		theirs := map[uint64]string{}
		for _, e := range r.GetEntries() {
			theirs[e.GetSeq()] = e.GetMessageId()
		}
		for ; len(ours) > 0 && ours[0].GetSeq() <= min(to, r.GetToSeq()); ours = ours[1:] {
			// One that is withheld has no id: it cannot be told which it is.
			if it := theirs[ours[0].GetSeq()]; it != "" && it != ours[0].GetMessageId() {
				return ours[0].GetSeq(), false, nil
			}
			alike = true
		}
	}
	return 0, alike, nil
}

// insist is pull until the server answers, and an empty answer came a few times: a server may be behind. A refusal is an
// empty answer: the user may see nothing there.
func (c *Client) insist(ctx context.Context, s *session, id string, after uint64) (*queryv1.EntriesResponse, error) {
	for n, empty := 0, 1; ; n++ {
		r, err := c.pull(ctx, s, id, after)
		var refused *Error
		switch {
		case err == nil && r.GetToSeq() <= after && empty < pullTries:
			if !sleep(ctx, holeDelay<<empty) {
				return nil, ctx.Err()
			}
			empty++
		case err == nil:
			return r, nil
		case errors.As(err, &refused) && refused.definite():
			return &queryv1.EntriesResponse{}, nil
		case !sleep(ctx, holeDelay+backoff(n)):
			return nil, err
		}
	}
}

// truncate forgets what the server's log has lost of a conversation.
func (c *Client) truncate(ch *changes, cv *conv, last uint64) {
	cv.log.Truncate(last)
	cv.generation++
	if ch.batch.Truncate == nil {
		ch.batch.Truncate = map[string]uint64{}
	}
	ch.batch.Truncate[cv.id] = last
	for _, byConversation := range c.cursors {
		if byConversation[cv.id] > last {
			byConversation[cv.id] = last
		}
	}
	for r := range c.readers {
		r.truncate(cv.id, last)
	}
	if c.begun[cv.id] > last {
		c.begun[cv.id] = last
	}
}

// resync reads all that changed, after the server said that its log has lost something or that it could not tell before.
func (c *Client) resync(s *session) {
	if s.resync.Swap(true) {
		return
	}
	c.hold(s)
	s.wg.Go(func() {
		s.syncs.Lock()
		defer s.syncs.Unlock()
		s.resync.Store(false)
		c.hold(s)
		r, err := s.sync(c.syncToken(), "")
		if err == nil {
			err = c.syncAll(s, page(r))
		}
		if err != nil {
			s.fail(fmt.Errorf("resync: %w", err))
		}
	})
}

// hold has entries wait for a sync, so that nothing new comes behind what may be lost.
func (c *Client) hold(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resyncing = c.resyncing || c.session == s
}
