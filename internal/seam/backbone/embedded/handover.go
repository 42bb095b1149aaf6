package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// The bounds of a hand-over: at either of the first two Publish waits.
const (
	handoverTasks  = 4096
	handoverBytes  = 64 << 20
	handoverIDs    = 64 << 10        // remembered at most twice this number, for
	handoverWindow = 2 * time.Minute // up to twice this long
	buryAgain      = 5 * time.Second
)

// handover implements backbone.Queue in memory: a task goes from Publish to a worker of Consume by
// itself, without a server in between. Per topic the tasks wait in one line, and only the first of
// it is worked on, so their order is kept through retries. What waits is gone with the process.
type handover struct {
	bury func(context.Context, backbone.Task, error) error
	log  *slog.Logger

	mu     sync.Mutex // guards what follows
	change *sync.Cond // something was added, finished or became due
	lines  []*line    // those with tasks, the longest unserved first
	tasks  int
	bytes  int
	ids    [2]map[string]struct{} // this window's and the last one's
	turned time.Time              // when ids[0] began
}

// line is the tasks of one topic.
type line struct {
	topic string
	tasks []*backbone.Task
	busy  bool
	due   time.Time // of the first task
}

var _ backbone.Queue = (*handover)(nil)

func newHandover(bury func(context.Context, backbone.Task, error) error, log *slog.Logger) *handover {
	h := &handover{bury: bury, log: log}
	h.change = sync.NewCond(&h.mu)
	return h
}

// Publish implements backbone.Queue; it waits for space until ctx ends.
func (h *handover) Publish(ctx context.Context, topic, id string, data []byte) error {
	if err := backbone.CheckTopic(topic, false); err != nil {
		return err
	}
	if len(data) > backbone.MaxData {
		return fmt.Errorf("%d bytes of at most %d: %w", len(data), backbone.MaxData, backbone.ErrRefused)
	}
	defer context.AfterFunc(ctx, h.wake)()
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.tasks >= handoverTasks || h.bytes+len(data) > handoverBytes {
		if h.known(id) {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("hand over to %s: %w: %w", topic, backbone.ErrFull, ctx.Err())
		}
		h.change.Wait()
	}
	now := time.Now()
	if h.known(id) {
		return nil
	}
	h.remember(id, now)
	l := h.line(topic)
	l.tasks = append(l.tasks, &backbone.Task{Topic: topic, ID: id, Data: append([]byte(nil), data...), Stored: now})
	h.tasks, h.bytes = h.tasks+1, h.bytes+len(data)
	h.change.Broadcast()
	return nil
}

// wake lets everyone who waits look again.
func (h *handover) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.change.Broadcast()
}

// known tells whether id was published within the window. h.mu is held.
func (h *handover) known(id string) bool {
	_, a := h.ids[0][id]
	_, b := h.ids[1][id]
	return id != "" && (a || b)
}

// remember keeps id for at least the window, or for the last handoverIDs ids. h.mu is held.
func (h *handover) remember(id string, now time.Time) {
	if id == "" {
		return
	}
	if h.ids[0] == nil || now.Sub(h.turned) > handoverWindow || len(h.ids[0]) >= handoverIDs {
		if now.Sub(h.turned) > 2*handoverWindow {
			h.ids[0] = nil
		}
		h.ids[0], h.ids[1], h.turned = map[string]struct{}{}, h.ids[0], now
	}
	h.ids[0][id] = struct{}{}
}

// line returns the line of topic. h.mu is held.
func (h *handover) line(topic string) *line {
	for _, l := range h.lines {
		if l.topic == topic {
			return l
		}
	}
	l := &line{topic: topic}
	h.lines = append(h.lines, l)
	return l
}

// Consume implements backbone.Queue.
func (h *handover) Consume(ctx context.Context, c backbone.Consumer) error {
	if err := backbone.CheckConsumer(&c); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, h.wake)()
	var wg sync.WaitGroup
	for range c.MaxInFlight {
		wg.Go(func() {
			for {
				l, t := h.next(ctx, c.Topic)
				if l == nil {
					return
				}
				h.settle(l, c, t, h.verdict(ctx, c, t))
			}
		})
	}
	wg.Wait()
	return nil
}

// next waits for a line with a task that is due, and takes hold of it; nil when ctx ended.
func (h *handover) next(ctx context.Context, filter string) (*line, backbone.Task) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ctx.Err() == nil {
		now := time.Now()
		for i, l := range h.lines {
			if l.busy || l.due.After(now) || !backbone.MatchTopic(filter, l.topic) {
				continue
			}
			h.lines = append(append(h.lines[:i:i], h.lines[i+1:]...), l) // to the end: the others are next
			l.busy = true
			l.tasks[0].Tries++
			return l, *l.tasks[0]
		}
		h.change.Wait()
	}
	return nil, backbone.Task{}
}

// verdict is what becomes of t; a task that should be parked and cannot be is retried.
func (h *handover) verdict(ctx context.Context, c backbone.Consumer, t backbone.Task) backbone.Verdict {
	v := backbone.Park(errors.New("parked before"))
	if t.Tries <= c.MaxTries {
		v = backbone.Judge(ctx, c, t)
	}
	if v.Act != backbone.ActPark {
		return v
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), buryAgain)
	defer cancel()
	if err := h.bury(ctx, t, v.Err); err != nil {
		h.log.ErrorContext(ctx, "task not parked, it comes again", "queue", backbone.PushOnline, "err", err)
		return backbone.RetryAfter(buryAgain, v.Err)
	}
	return v
}

// settle lets go of the line, without its first task unless that is to be retried.
func (h *handover) settle(l *line, c backbone.Consumer, t backbone.Task, v backbone.Verdict) {
	if v.Act == backbone.ActPark && c.Parked != nil {
		c.Parked(t, v.Err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l.busy = false
	if v.Act == backbone.ActRetry {
		after := max(v.After, time.Millisecond)
		l.due = time.Now().Add(after)
		time.AfterFunc(after, h.wake)
		return
	}
	l.tasks, l.due = l.tasks[1:], time.Time{}
	h.tasks, h.bytes = h.tasks-1, h.bytes-len(t.Data)
	if len(l.tasks) == 0 {
		for i := range h.lines {
			if h.lines[i] == l {
				h.lines = append(h.lines[:i:i], h.lines[i+1:]...)
				break
			}
		}
	}
	h.change.Broadcast()
}
