package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

var errReturned = errors.New("returned without being told to stop")

// A graph is one run of all parts.
type graph struct {
	log      *slog.Logger
	nodes    []*node       // a part stands behind everything it needs
	stopping chan struct{} // closed when stopping begins
	failed   chan struct{} // closed by the first failure

	mu   sync.Mutex
	errs []error // in the order in which they happened, so the cause is first; guarded by mu
}

// A node is a part with its place in the graph.
type node struct {
	part   Part
	needs  []*node
	users  []*node
	ctx    context.Context // the part's own
	cancel context.CancelFunc
	ready  chan struct{} // closed when the part said so
	done   chan struct{} // closed when the part returned, or will never start
	gone   chan struct{} // closed when the part and everything above it are done
}

func newNode(p Part) *node {
	return &node{part: p, ready: make(chan struct{}), done: make(chan struct{}), gone: make(chan struct{})}
}

// newGraph sorts the parts and checks that there is an order.
func newGraph(log *slog.Logger, parts []Part) (*graph, error) {
	g := &graph{log: log, stopping: make(chan struct{}), failed: make(chan struct{})}
	byName := map[string]*node{}
	for _, p := range parts {
		if p.Run == nil || p.Name == "" {
			return nil, fmt.Errorf("part %q: want a name and a Run", p.Name)
		}
		if byName[p.Name] != nil {
			return nil, fmt.Errorf("part %s: the name is there twice", p.Name)
		}
		byName[p.Name] = newNode(p)
	}
	s := sorter{byName: byName, state: map[*node]mark{}}
	for _, p := range parts {
		if err := s.visit(byName[p.Name]); err != nil {
			return nil, err
		}
	}
	g.nodes = s.sorted
	return g, nil
}

type mark int

const (
	unseen mark = iota
	open        // on the way down
	sorted
)

// A sorter orders nodes depth first and links them.
type sorter struct {
	byName map[string]*node
	state  map[*node]mark
	way    []string // the names from the first node to the present one
	sorted []*node
}

func (s *sorter) visit(n *node) error {
	switch s.state[n] {
	case sorted:
		return nil
	case open:
		return fmt.Errorf("parts need each other: %s -> %s", strings.Join(s.way, " -> "), n.part.Name)
	case unseen:
	}
	s.state[n] = open
	s.way = append(s.way, n.part.Name)
	for _, name := range n.part.Needs {
		need := s.byName[name]
		if need == nil {
			return fmt.Errorf("part %s needs %s, which does not exist", n.part.Name, name)
		}
		if err := s.visit(need); err != nil {
			return err
		}
		n.needs = append(n.needs, need)
		need.users = append(need.users, n)
	}
	s.way = s.way[:len(s.way)-1]
	s.state[n] = sorted
	s.sorted = append(s.sorted, n)
	return nil
}

// start starts two goroutines per part: one runs it, one tells it when to stop. Both end once stopping has begun and
// the part has returned. Parts keep the values of ctx but not its end, which comes to them in order.
func (g *graph) start(ctx context.Context) {
	for _, n := range g.nodes {
		n.ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx)) //nolint:fatcontext // one per part, not nested
	}
	for _, n := range g.nodes {
		go g.run(n)
		go g.stopInOrder(n)
	}
}

// run runs n once everything it needs is ready.
func (g *graph) run(n *node) {
	defer close(n.done)
	defer n.cancel()
	for _, need := range n.needs {
		select {
		case <-need.ready:
		case <-g.stopping:
			return
		}
	}
	begin := time.Now()
	var once sync.Once
	err := g.call(n, func() {
		once.Do(func() {
			g.log.DebugContext(n.ctx, "part is ready", "part", n.part.Name, "took", time.Since(begin))
			close(n.ready)
		})
	})
	g.returned(n, err)
}

// call runs the part and turns a panic into an error.
func (g *graph) call(n *node, ready func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			g.log.ErrorContext(n.ctx, "part panicked", "part", n.part.Name, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return n.part.Run(n.ctx, ready)
}

// returned judges the end of n: before stopping it is a failure whatever err says.
func (g *graph) returned(n *node, err error) {
	told := n.ctx.Err() != nil
	g.log.DebugContext(n.ctx, "part has stopped", "part", n.part.Name, "err", err)
	switch {
	case told && errors.Is(err, context.Canceled):
		return
	case err == nil && (told || isClosed(g.stopping)):
		return
	case err == nil:
		err = errReturned
	}
	g.fail(fmt.Errorf("part %s: %w", n.part.Name, err))
}

// stopInOrder cancels n when stopping has begun and everything above it is done. Waiting for those who need n directly
// would not do: one of them may have failed long ago while its own users still work, and they may reach n through it.
func (g *graph) stopInOrder(n *node) {
	defer close(n.gone)
	<-g.stopping
	for _, user := range n.users {
		<-user.gone
	}
	n.cancel()
	<-n.done
}

// isFree reports whether everything above n is done.
func (n *node) isFree() bool {
	return !slices.ContainsFunc(n.users, func(user *node) bool { return !isClosed(user.done) || !user.isFree() })
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func (g *graph) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.errs = append(g.errs, err); len(g.errs) == 1 {
		close(g.failed)
	}
}

func (g *graph) result() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.errs...)
}
