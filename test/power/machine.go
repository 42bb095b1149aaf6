package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/oceanchat/oceanchat/test/power/disk"
	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// machine is processes and the disks that they keep everything on, which lose their power together.
type machine struct {
	procs  []*local.Process
	shelfs []*shelf
	keeper *keeper // of some of procs; nil: nobody starts them anew
}

// shelf is a disk and where it is shown.
type shelf struct {
	dir     string
	disk    *disk.Disk
	unmount func() error // nil: it is not shown
}

// errCut says that the power went before what was waited for.
var errCut = errors.New("the power is gone")

// show shows the disks.
func (m *machine) show() error {
	for _, s := range m.shelfs {
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return err
		}
		var err error
		if s.unmount, err = s.disk.Mount(s.dir); err != nil {
			return err
		}
	}
	return nil
}

// errSlow says that a start took longer than startWithin.
var errSlow = errors.New("the start takes too long")

// on shows the disks and starts the processes, in turn.
func (m *machine) on() error {
	if err := m.show(); err != nil {
		return err
	}
	for _, p := range m.procs {
		if err := p.Start(); err != nil {
			return err
		}
	}
	m.keeper.hold(false)
	return nil
}

// watched returns a context that ends with errCut when the power of one of the disks goes.
func (m *machine) watched(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	for _, s := range m.shelfs {
		go func() {
			select {
			case <-s.disk.Dark():
				cancel(errCut)
			case <-ctx.Done():
			}
		}()
	}
	return ctx, func() { cancel(nil) }
}

// cut has the power go of all disks when it goes of one, or after a while. It returns when the last one lost it.
func (m *machine) cut(ctx context.Context, after time.Duration) (at time.Time, err error) {
	ctx, cancel := m.watched(ctx)
	defer cancel()
	select {
	case <-ctx.Done():
		if err := context.Cause(ctx); !errors.Is(err, errCut) {
			return at, err
		}
	case <-time.After(after):
	}
	for _, s := range m.shelfs {
		s.disk.Cut()
	}
	for _, s := range m.shelfs {
		if t := s.disk.CutTime(); t.After(at) {
			at = t
		}
	}
	return at, nil
}

// ready waits until all processes are; errCut if the power goes before.
func (m *machine) ready(ctx context.Context) error {
	ctx, cancel := m.watched(ctx)
	defer cancel()
	for _, p := range m.procs {
		err := p.Ready(ctx)
		if errors.Is(context.Cause(ctx), errCut) {
			return errCut
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// start is on and ready.
func (m *machine) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startWithin, errSlow)
	defer cancel()
	if err := m.on(); err != nil {
		return err
	}
	return m.ready(ctx)
}

// empty puts in new disks. The power must be off.
func (m *machine) empty(k keeping, seed uint64) {
	for i, s := range m.shelfs {
		s.disk = disk.New(k.options(seed + uint64(i)))
	}
}

// cutAt has the power go at the n-th sync of one of the disks; 0: at none.
func (m *machine) cutAt(rnd *rand.Rand, n int) {
	m.shelfs[rnd.IntN(len(m.shelfs))].disk.CutAt(n)
}

// stay has the power stay, unless it has gone: then it returns false.
func (m *machine) stay() bool {
	for _, s := range m.shelfs {
		s.disk.CutAt(0)
	}
	return !slices.ContainsFunc(m.shelfs, func(s *shelf) bool { return !s.disk.CutTime().IsZero() })
}

// off ends what runs after a cut, and puts in new disks with what is left on the old ones. None of the processes gets an
// answer of its disk before it is killed.
func (m *machine) off(keeps keeping, seed uint64) error {
	m.keeper.hold(true)
	for _, s := range m.shelfs {
		s.disk.Cut()
	}
	for _, p := range m.procs {
		if one, err := os.FindProcess(p.PID()); err == nil && p.Running() {
			_ = one.Kill() // it cannot end before Fail
		}
	}
	for _, s := range m.shelfs {
		s.disk.Fail()
	}
	for _, p := range m.procs {
		p.Kill()
	}
	var errs []error
	for i, s := range m.shelfs {
		errs = append(errs, s.hide())
		s.disk = s.disk.Remains(keeps.options(seed + uint64(i)))
	}
	return errors.Join(errs...)
}

// hide shows a disk no more.
func (s *shelf) hide() error {
	if s.unmount == nil {
		return nil
	}
	err := s.unmount()
	s.unmount = nil
	return err
}

// close ends everything, whatever its state is.
func (m *machine) close() error {
	for _, p := range m.procs {
		if one, err := os.FindProcess(p.PID()); err == nil && p.Running() {
			_ = one.Kill()
		}
	}
	var errs []error
	for _, s := range m.shelfs {
		if s.unmount != nil {
			s.disk.Cut()
			s.disk.Fail()
		}
	}
	for _, p := range m.procs {
		p.Kill()
	}
	for _, s := range m.shelfs {
		errs = append(errs, s.hide())
	}
	return errors.Join(errs...)
}
