package pusherrealtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	wsgatewayv1 "github.com/oceanchat/oceanchat/gen/oceanchat/wsgateway/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// gateways bounds the calls to each gateway, so that one which hangs leaves room for the others.
type gateways struct {
	net  calls.Network
	most int

	mu   sync.Mutex // guards busy
	busy map[string]int
}

var errBusy = errors.New("enough calls to this gateway are under way")

func (g *gateways) enter(id string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.busy[id] >= g.most {
		return false
	}
	g.busy[id]++
	return true
}

func (g *gateways) leave(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.busy[id]--; g.busy[id] == 0 {
		delete(g.busy, id)
	}
}

// deliver commands the gateway and returns whom it did not reach.
func (g *gateways) deliver(ctx context.Context, t *flowv1.OnlineTask) ([]*wsgatewayv1.Unreached, error) {
	id := t.GetGatewayId()
	if !g.enter(id) {
		return nil, errBusy
	}
	defer g.leave(id)
	a, err := wsgatewayv1.NewGatewayServiceClient(g.net.Gateway(chat.GatewayID(id))).
		Deliver(ctx, &wsgatewayv1.DeliverRequest{Task: t})
	return a.GetUnreached(), err
}

// handle works on one online task.
func (s *Service) handle(ctx context.Context, t backbone.Task) backbone.Verdict {
	task := &flowv1.OnlineTask{}
	if err := proto.Unmarshal(t.Data, task); err != nil {
		return backbone.Park(fmt.Errorf("no online task: %w", err))
	}
	began := time.Now()
	defer s.pushing(ctx, task, began)
	call, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	missed, err := s.gateways.deliver(call, task)
	cancel()
	var online map[string][]*presencev1.Connection
	switch {
	case err != nil:
		if online, err = s.afterFailure(ctx, task, t.Tries, err); err != nil {
			return s.retry(ctx, task, t.Tries, err)
		}
		missed = everyone(task)
	case len(missed) > 0:
		// Without an answer nobody counts as reached: to push twice is better than to deliver the task twice.
		online, _ = s.lookup(ctx, users(task, missed))
	}
	s.count(task, missed)
	s.handed(task, missed, began)
	if err := s.push(ctx, task, missed, online); err != nil {
		return s.retry(ctx, task, t.Tries, err)
	}
	return backbone.Done()
}

func (s *Service) count(task *flowv1.OnlineTask, missed []*wsgatewayv1.Unreached) {
	all, not := 0, 0
	for _, i := range task.GetItems() {
		all += len(i.GetTo())
	}
	for _, u := range missed {
		not += len(u.GetTo())
	}
	s.m.delivered.Add(float64(max(0, all-not)))
	s.m.unreached.Add(float64(not))
}

func (s *Service) retry(ctx context.Context, task *flowv1.OnlineTask, try int, err error) backbone.Verdict {
	s.m.retried.Inc()
	if !errors.Is(err, errBusy) { // that is a queue, and its time shows between routed and handed
		s.failed(task, journey.Retried, err)
	}
	if n, ok := s.quiet.Allow("retry " + task.GetGatewayId()); ok && ctx.Err() == nil {
		s.log.WarnContext(ctx, "a gateway's task was not delivered, it comes again",
			obs.GatewayID, task.GetGatewayId(), obs.AttemptNo, try, obs.Err, err, obs.Suppressed, n)
	}
	first := s.cfg.RetryDelay
	if errors.Is(err, errBusy) {
		first = busyDelay // most likely it is only busy, and what comes late is overtaken
	}
	delay := maxDelay
	if shift := try - 1; shift < 20 {
		delay = min(maxDelay, first<<max(0, shift))
	}
	return backbone.RetryAfter(delay, err)
}

// afterFailure returns nil and who is on line if the gateway is gone, which presence decides and no time-out; else the
// error with which the task comes again. After very many tries the gateway counts as gone although it is listed.
func (s *Service) afterFailure(ctx context.Context, task *flowv1.OnlineTask, tries int, cause error) (map[string][]*presencev1.Connection, error) {
	if errors.Is(cause, errBusy) && tries < maxTries {
		return nil, cause
	}
	online, err := s.lookup(ctx, users(task, everyone(task)))
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && tries < maxTries:
		return nil, errors.Join(cause, err)
	}
	for u, list := range online {
		here := func(c *presencev1.Connection) bool { return c.GetGatewayId() == task.GetGatewayId() }
		if slices.ContainsFunc(list, here) && tries < maxTries {
			return nil, fmt.Errorf("gateway %s: %w", task.GetGatewayId(), cause)
		}
		online[u] = slices.DeleteFunc(list, here)
	}
	if n, ok := s.quiet.Allow("gone " + task.GetGatewayId()); ok {
		s.log.WarnContext(ctx, "a gateway is gone, its users get offline pushes",
			obs.GatewayID, task.GetGatewayId(), obs.AttemptNo, tries, obs.Err, cause, obs.Suppressed, n)
	}
	return online, nil
}

func everyone(task *flowv1.OnlineTask) []*wsgatewayv1.Unreached {
	out := make([]*wsgatewayv1.Unreached, len(task.GetItems()))
	for i, item := range task.GetItems() {
		out[i] = &wsgatewayv1.Unreached{Item: uint32(i), To: item.GetTo()}
	}
	return out
}

// users returns the users of connections that were missed, each once.
func users(task *flowv1.OnlineTask, missed []*wsgatewayv1.Unreached) []string {
	var out []string
	seen := map[string]struct{}{}
	for _, m := range missed {
		if int(m.GetItem()) >= len(task.GetItems()) {
			continue
		}
		for _, c := range m.GetTo() {
			if _, ok := seen[c.GetUserId()]; !ok {
				seen[c.GetUserId()] = struct{}{}
				out = append(out, c.GetUserId())
			}
		}
	}
	return out
}

func (s *Service) lookup(ctx context.Context, users []string) (map[string][]*presencev1.Connection, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	online := map[string][]*presencev1.Connection{}
	for some := range slices.Chunk(users, maxLookup) {
		a, err := s.presence.Lookup(ctx, &presencev1.LookupRequest{UserIds: some})
		if err != nil {
			return nil, fmt.Errorf("ask presence for %d users: %w", len(some), err)
		}
		for _, c := range a.GetConnections() {
			online[c.GetUserId()] = append(online[c.GetUserId()], c)
		}
	}
	return online, nil
}

// push makes offline pushes of what was missed, for users that have no live connection but the missed ones.
func (s *Service) push(ctx context.Context, task *flowv1.OnlineTask, missed []*wsgatewayv1.Unreached, online map[string][]*presencev1.Connection) error {
	dead := map[string]struct{}{} // ids of connections are unique within their gateway
	for _, m := range missed {
		for _, c := range m.GetTo() {
			dead[c.GetConnectionId()] = struct{}{}
		}
	}
	lives := func(c *presencev1.Connection) bool {
		_, missed := dead[c.GetConnectionId()]
		return !missed || c.GetGatewayId() != task.GetGatewayId()
	}
	var items []*flowv1.OfflineItem
	for _, m := range missed {
		if int(m.GetItem()) >= len(task.GetItems()) {
			continue // no item of this task: a gateway of another mind
		}
		e := &messagev1.Entry{}
		if err := proto.Unmarshal(task.GetItems()[m.GetItem()].GetEntry(), e); err != nil {
			s.log.ErrorContext(ctx, "an entry of a task cannot be read; it is passed", "task", task.GetId(), obs.Err, err)
			continue
		}
		item := &flowv1.OfflineItem{Entry: e}
		for _, c := range m.GetTo() {
			u := c.GetUserId()
			if rings(e, u) && !slices.Contains(item.UserIds, u) && !slices.ContainsFunc(online[u], lives) {
				item.UserIds = append(item.UserIds, u)
			}
		}
		items = append(items, item)
	}
	return s.again(ctx, func() error { return s.offline.store(ctx, "u."+task.GetId(), items) })
}

// again repeats the storing of an offline task a little, as to repeat the whole task would deliver it twice.
func (s *Service) again(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || try == publishTries {
			return err
		}
		wait := time.NewTimer(s.cfg.RetryDelay)
		select {
		case <-ctx.Done():
			wait.Stop()
			return err
		case <-wait.C:
		}
	}
}

// rings reports whether e is worth an offline push to u.
func rings(e *messagev1.Entry, u string) bool {
	return u != "" && e.GetSenderId() != u && convlog.Raises(e)
}
