package recovery

import (
	"context"
	"fmt"
	"io"

	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// state says how a partition's log and the database stand to each other.
type state int

const (
	current state = iota // the log goes on where the database stands
	lost                 // there is no log, or a new one that holds nothing
	setBack              // the log ends before what is stored
	torn                 // the log begins behind what is stored, or is another one: something may be missing between the two
)

// part is one partition.
type part struct {
	index   int
	there   bool // its log
	mark    store.Mark
	info    backbone.LogInfo
	floor   uint64 // up to which every reader has read it
	missing int    // entries that are in neither of the two, as far as what is left shows them; of one that is torn
}

func (p *part) empty() bool { return !p.there || p.info.First > p.info.Last || p.info.Last == 0 }

// purged returns how many batches are in neither of the two. A start is refused by the same rule.
func (p *part) purged() uint64 { return convlog.Missing(convlog.Mark(p.mark), p.info) }

func (p *part) same() bool { return p.mark.Incarnation == p.info.Incarnation }

func (p *part) state() state {
	switch {
	case !p.there && p.mark == (store.Mark{}):
		return current // never used
	case !p.there:
		return lost
	case p.purged() > 0:
		return torn
	case p.same() && p.mark.Position > p.info.Last:
		return setBack
	case p.same(), p.mark == (store.Mark{}):
		return current
	case p.empty():
		return lost
	}
	return torn
}

// handled says that nothing in the log is still needed.
func (p *part) handled() bool {
	return p.state() == current && (p.empty() || p.mark.Position >= p.info.Last && p.floor >= p.info.Last)
}

// look reads how everything stands.
func (r *run) look(ctx context.Context) error {
	logs, err := r.Backbone.Logs(ctx)
	if err != nil {
		return err
	}
	if r.of, err = r.madeFor(logs); err != nil {
		return err
	}
	r.parts = make([]part, r.of)
	for i := range r.parts {
		_, there := logs[i]
		r.parts[i] = part{index: i, there: there}
		if begun := logs[0] == r.partitions && r.partitions > 0; begun && !there && i >= r.partitions {
			continue // dropped by the change that was interrupted
		}
		if err := r.read(ctx, &r.parts[i]); err != nil {
			return fmt.Errorf("partition %d: %w", i, err)
		}
	}
	return nil
}

// madeFor returns for how many partitions the logs were made. Two numbers are left by a change that was interrupted.
func (r *run) madeFor(logs map[int]int) (int, error) {
	said := map[int]bool{}
	for _, of := range logs {
		if of > 0 && of != r.partitions {
			said[of] = true
		}
	}
	switch {
	case len(said) > 1:
		return 0, fmt.Errorf("the logs say that they were made for different numbers of partitions: %v", logs)
	case len(said) == 1:
		for of := range said {
			return of, nil
		}
	}
	return r.Partitions, nil
}

// read fills in a partition. The mark is read first, as its writer may go on meanwhile, and store and purge what this mark does not know.
func (r *run) read(ctx context.Context, p *part) (err error) {
	if p.mark, err = r.Log.Mark(ctx, p.index); err != nil || !p.there {
		return err
	}
	l, err := r.Backbone.Log(ctx, p.index)
	if err != nil {
		return err
	}
	if err := l.Confirm(ctx); err != nil {
		return err
	}
	for moved := true; moved; {
		if p.info, err = l.Info(ctx); err != nil {
			return err
		}
		known := p.mark
		if p.purged() > 0 {
			if p.mark, err = r.Log.Mark(ctx, p.index); err != nil {
				return err
			}
		}
		moved = p.mark != known
	}
	p.floor = p.info.Last
	for _, name := range r.Readers {
		floor, err := l.Floor(ctx, name)
		if err != nil {
			return err
		}
		p.floor = min(p.floor, floor)
	}
	if p.state() == torn {
		gaps, err := r.gaps(ctx, p, l)
		if err != nil {
			return err
		}
		for _, g := range gaps {
			p.missing += g.count()
		}
	}
	return nil
}

// tell prints how everything stands, and returns how many partitions are not as they should be.
func (r *run) tell(w io.Writer) (amiss int) {
	for i := range r.parts {
		p := &r.parts[i]
		if p.state() != current {
			amiss++
		}
		_, _ = fmt.Fprintf(w, "partition %-3d %s\n", p.index, p.words())
	}
	return amiss
}

func (p *part) words() string {
	switch p.state() {
	case lost:
		return fmt.Sprintf("the log is lost; the database has it up to %d. A new one goes on behind that, in a new epoch", p.mark.Position)
	case setBack:
		return fmt.Sprintf("the log ends at %d, the database has it up to %d: the log was set back. It goes on behind that, in a new epoch", p.info.Last, p.mark.Position)
	case torn:
		return p.tornWords()
	case current:
	}
	if p.empty() {
		return "ok, all is stored"
	}
	return fmt.Sprintf("ok, %d of %d are stored, %d handed on", min(p.mark.Position, p.info.Last), p.info.Last, p.floor)
}

// tornWords counts batches where positions are missing, and entries where numbers of conversations are.
func (p *part) tornWords() string {
	log := fmt.Sprintf("the log from %d to %d", p.info.First, p.info.Last)
	if p.empty() {
		log = fmt.Sprintf("the log, empty and to go on at %d,", p.info.First)
	}
	entries := ""
	if p.missing > 0 {
		entries = fmt.Sprintf("; by what is left, %d ENTRIES", p.missing)
	}
	switch n := p.purged(); {
	case n > 0 && p.same():
		return fmt.Sprintf("%d BATCHES ARE MISSING: the database has it up to %d, %s does not have them any more%s", n, p.mark.Position, log, entries)
	case n > 0:
		return fmt.Sprintf("UP TO %d BATCHES ARE MISSING: %s is another one than the database knows, and had more before%s", n, log, entries)
	case p.missing > 0:
		return fmt.Sprintf("%d ENTRIES ARE MISSING: %s is another one than the database knows, and begins behind it", p.missing, log)
	}
	return log + " is another one than the database knows, and fits, but whether the log before it had more cannot be seen. It is stored, in a new epoch"
}
