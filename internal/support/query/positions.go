package query

import (
	"context"
	"errors"
	"sync"
	"time"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
)

// positionsWithin bounds a question for the log's positions, as it does not end with who asked it.
const positionsWithin = 5 * time.Second

// positions asks where the log stands, once for all who ask while an earlier question is under way: each question reads the
// epoch linearizably, which costs the database a write, and after an outage everybody syncs at once. An answer is only given
// to who asked before its question began, so it holds everything that happened before the asking: a client that came
// after a new epoch is told of it.
type positions struct {
	ask func(context.Context) (*messagev1.GetPositionsResponse, error)

	mu        sync.Mutex // guards what follows
	now, next *question  // under way; not begun yet, with somebody that will begin it
}

type question struct {
	done   chan struct{}
	answer *messagev1.GetPositionsResponse
	err    error
}

// errUnanswered is what others hear of a question whose asker panicked.
var errUnanswered = errors.New("query: the question for the log's positions was given up")

// get returns where the log stands.
func (p *positions) get(ctx context.Context) (*messagev1.GetPositionsResponse, error) {
	p.mu.Lock()
	q, before := p.next, p.now
	if q == nil {
		q = &question{done: make(chan struct{}), err: errUnanswered}
		p.next = q
		p.mu.Unlock()
		p.begin(ctx, q, before)
		return q.answer, q.err
	}
	p.mu.Unlock()
	select {
	case <-q.done:
		return q.answer, q.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// begin asks q when the question before it is answered. Others may wait for q, so it does not end with ctx.
func (p *positions) begin(ctx context.Context, q, before *question) {
	if before != nil {
		<-before.done
	}
	p.mu.Lock()
	p.now, p.next = q, nil
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		if p.now == q {
			p.now = nil
		}
		p.mu.Unlock()
		close(q.done)
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), positionsWithin)
	defer cancel()
	q.answer, q.err = p.ask(ctx)
}
