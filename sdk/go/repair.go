package oceanchat

import (
	"context"
	"errors"
	"time"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
)

const (
	holeDelay   = 500 * time.Millisecond // what was overtaken comes by itself before
	maxPulls    = 4
	pullPage    = 100
	pullTries   = 4 // empty answers before a hole is given up
	pullTimeout = 15 * time.Second
)

// repair has the hole of a conversation filled, if it has one after delay. At most one pull per conversation is under
// way. c.mu is held.
func (c *Client) repair(s *session, cv *conv, delay time.Duration) {
	if _, hole := cv.log.Hole(); !hole || cv.pulling || c.resyncing {
		return
	}
	cv.pulling = true
	s.wg.Go(func() {
		sleep(s.ctx, delay)
		c.fill(s, cv)
	})
}

// hole returns what a pull has to ask for. Where there is nothing the pull is over, in one step with the look, so that
// the next hole starts another one.
func (c *Client) hole(s *session, cv *conv) (after uint64, generation int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	after, ok = cv.log.Hole()
	if !ok || c.session != s || c.resyncing || s.ctx.Err() != nil {
		cv.pulling = false
		return 0, 0, false
	}
	return after, cv.generation, true
}

// fill pulls pages until nothing is missing. A hole that the server has nothing for is given up: the user may not see it.
func (c *Client) fill(s *session, cv *conv) {
	empty, failed := 0, 0
	for {
		after, generation, ok := c.hole(s, cv)
		if !ok {
			return
		}
		r, err := c.pull(s.ctx, s, cv.id, after)
		var refused *Error
		switch {
		case err == nil && r.GetToSeq() > after:
			c.filled(s, cv, generation, after, r)
			empty, failed = 0, 0
			continue
		case errors.As(err, &refused) && refused.definite():
			empty = pullTries
		case err != nil:
			failed++
			sleep(s.ctx, holeDelay+backoff(failed))
			continue
		}
		if empty++; empty < pullTries {
			sleep(s.ctx, holeDelay<<empty)
			continue
		}
		c.log.Warn("entries cannot be had, going on without them", "conversation", cv.id, "after", after, "err", err)
		c.giveUp(s, cv, generation)
		empty = 0
	}
}

// pull asks for a page of the raw log. At most four are asked at a time.
func (c *Client) pull(ctx context.Context, s *session, conversation string, after uint64) (*queryv1.EntriesResponse, error) {
	select {
	case c.pulls <- struct{}{}:
		defer func() { <-c.pulls }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.ctx.Done():
		return nil, s.lost()
	}
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	limit := int32(pullPage)
	r := &queryv1.EntriesResponse{}
	req := &queryv1.EntriesRequest{ConversationId: conversation, AfterSeq: after, Limit: &limit}
	return r, s.call(ctx, laneRepair, "query.entries", req, r)
}

func (c *Client) filled(s *session, cv *conv, generation int, after uint64, r *queryv1.EntriesResponse) {
	c.step(s, cv, generation, func() []*messagev1.Entry { return cv.log.Page(after, r.GetToSeq(), r.GetEntries()) })
}

func (c *Client) giveUp(s *session, cv *conv, generation int) {
	c.step(s, cv, generation, cv.log.Skip)
}

// step applies what f does to a log, unless entries were taken back since.
func (c *Client) step(s *session, cv *conv, generation int, f func() []*messagev1.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != s || cv.generation != generation || c.resyncing {
		return
	}
	ch := c.change()
	ch.touch(cv)
	ch.applied(cv, f())
	_ = ch.commit() // it ended the session
}

// fetch asks what a conversation is that only an entry told of, until the server says. c.mu is held.
func (c *Client) fetch(s *session, cv *conv) {
	if cv.told || cv.fetching {
		return
	}
	cv.fetching = true
	s.wg.Go(func() {
		info, ok := c.ask(s, cv.id)
		c.mu.Lock()
		defer c.mu.Unlock()
		cv.fetching = false
		if !ok || c.session != s {
			return // the next session asks again
		}
		ch := c.change()
		cv.merge(info, false)
		ch.touch(cv)
		_ = ch.commit() // it ended the session
	})
}

// ask returns what the server knows of a conversation; ok is false if the session ended. One that the server does not
// know any more is as the entry told.
func (c *Client) ask(s *session, id string) (info *queryv1.Conversation, ok bool) {
	for n := 0; s.ctx.Err() == nil; n++ {
		r := &queryv1.ConversationResponse{}
		ctx, cancel := context.WithTimeout(s.ctx, pullTimeout)
		err := s.call(ctx, laneRepair, "query.getConversation", &queryv1.GetConversationRequest{ConversationId: id}, r)
		cancel()
		var refused *Error
		switch {
		case err == nil:
			return r.GetConversation(), true
		case errors.As(err, &refused) && refused.definite():
			return &queryv1.Conversation{ConversationId: id}, true
		}
		sleep(s.ctx, holeDelay+backoff(n))
	}
	return nil, false
}
