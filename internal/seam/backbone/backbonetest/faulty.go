package backbonetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// Fault is what happens to an Append of a Faulty log.
type Fault uint8

// The faults.
const (
	Pass       Fault = iota // none
	LoseAck                 // stored, but the answer is an unknown outcome
	FailBefore              // not stored, and the answer is an unknown outcome
	StoreLate               // the answer is an unknown outcome, and Release tries to store it
	Hold                    // waits for Release before it goes on as Pass
	Conflict                // not stored, ErrConflict
	Full                    // not stored, ErrFull
	Refuse                  // not stored, ErrRefused
)

// ErrInjected is in every unknown outcome and every failed read of a Faulty log.
var ErrInjected = errors.New("backbonetest: injected fault")

// Faulty is a Log that fails as the test says, and otherwise is the Log inside. It is safe for
// concurrent use.
type Faulty struct {
	backbone.Log

	mu      sync.Mutex // guards what follows
	next    []Fault
	always  Fault
	reads   int
	appends int
	late    []func()
	release chan struct{}
	held    int
}

var _ backbone.Log = (*Faulty)(nil)

// NewFaulty returns a Faulty around l without a fault.
func NewFaulty(l backbone.Log) *Faulty { return &Faulty{Log: l, release: make(chan struct{})} }

// Next sets the faults of the next Appends, one each, in the order in which they begin.
func (f *Faulty) Next(faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = append(f.next, faults...)
}

// Always sets the fault of every Append for which Next says nothing; Pass ends it.
func (f *Faulty) Always(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.always = fault
}

// FailReads lets the next n calls of Info, Confirm, Get, Read, SeqAt and Floor fail.
func (f *Faulty) FailReads(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads = n
}

// Appends returns how many Appends began.
func (f *Faulty) Appends() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.appends
}

// Held returns how many Appends wait in Hold.
func (f *Faulty) Held() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held
}

// Release lets go of what Hold keeps back, and stores what StoreLate did, in the order in which it
// came; what does not fit any more is refused by the log, as it would be in earnest.
func (f *Faulty) Release() {
	f.mu.Lock()
	late := f.late
	f.late = nil
	close(f.release)
	f.release = make(chan struct{})
	f.mu.Unlock()
	for _, store := range late {
		store()
	}
}

// Append implements backbone.Log.
func (f *Faulty) Append(ctx context.Context, data []byte, expect uint64) (uint64, error) {
	f.mu.Lock()
	fault, release := f.always, f.release
	if len(f.next) > 0 {
		fault, f.next = f.next[0], f.next[1:]
	}
	f.appends++
	if fault == StoreLate {
		data := slices.Clone(data)
		f.late = append(f.late, func() { _, _ = f.Log.Append(context.WithoutCancel(ctx), data, expect) })
	}
	f.mu.Unlock()
	switch fault {
	case Pass:
	case LoseAck:
		if _, err := f.Log.Append(ctx, data, expect); err != nil {
			return 0, err
		}
		return 0, fmt.Errorf("acknowledgement lost: %w", ErrInjected)
	case FailBefore, StoreLate:
		return 0, fmt.Errorf("no answer: %w", ErrInjected)
	case Hold:
		if err := f.hold(ctx, release); err != nil {
			return 0, err
		}
	case Conflict:
		return 0, fmt.Errorf("injected: %w", backbone.ErrConflict)
	case Full:
		return 0, fmt.Errorf("injected: %w", backbone.ErrFull)
	case Refuse:
		return 0, fmt.Errorf("injected: %w", backbone.ErrRefused)
	}
	return f.Log.Append(ctx, data, expect)
}

func (f *Faulty) hold(ctx context.Context, release <-chan struct{}) error {
	f.count(1)
	defer f.count(-1)
	select {
	case <-release:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *Faulty) count(d int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held += d
}

func (f *Faulty) read() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reads > 0 {
		f.reads--
		return fmt.Errorf("read: %w", ErrInjected)
	}
	return nil
}
