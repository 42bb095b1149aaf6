package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Why a Status is not ready although no check fails.
var (
	ErrStarting = errors.New("starting")
	ErrDraining = errors.New("draining")
)

// Status answers whether this process should be sent requests. The zero value is starting; Run moves it on. It is safe
// for concurrent use.
type Status struct {
	mu       sync.Mutex // guards all below
	started  bool
	draining bool
	checks   []check
}

type check struct {
	name string
	run  func(context.Context) error
}

// Add adds a check that must pass for Ready. It is called for every probe, at the same time as the others: it must be
// cheap and must return when its context ends.
func (s *Status) Add(name string, run func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks = append(s.checks, check{name, run})
}

// MarkStarted says that all parts are ready.
func (s *Status) MarkStarted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = true
}

// MarkDraining makes Ready fail from now on; there is no way back.
func (s *Status) MarkDraining() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
}

// Draining reports whether MarkDraining was called.
func (s *Status) Draining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

// Ready returns nil when the process serves and every check passes. Otherwise it is ErrDraining, or all that fails
// joined, each error beginning with the name of its check; before the process serves ErrStarting and what it may be
// waiting for, so checks must be able to answer then.
func (s *Status) Ready(ctx context.Context) error {
	s.mu.Lock()
	checks := slices.Clone(s.checks)
	started, draining := s.started, s.draining
	s.mu.Unlock()
	switch {
	case draining:
		return ErrDraining
	case !started:
		return errors.Join(ErrStarting, runAll(ctx, checks))
	}
	return runAll(ctx, checks)
}

// runAll runs checks side by side, so that one that uses up the time of ctx does not make the others fail.
func runAll(ctx context.Context, checks []check) error {
	errs := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { errs[i] = c.call(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c check) call(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: panic: %v", c.name, p)
		}
	}()
	if err := c.run(ctx); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}
