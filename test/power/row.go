package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/oceanchat/oceanchat/test/fleet"
	"github.com/oceanchat/oceanchat/test/power/disk"
)

// row is what cuts of one kind did.
type row struct {
	name, sync string
	names      disk.Names
	within     time.Duration // how old may be what is lost
	cuts       int
	acked      int
	hit, most  int             // cuts that lost something, and how much one lost at most
	lost       []time.Duration // of each message that was acknowledged and is lost: how long before the cut
	back       time.Duration   // the longest start on what was left
	sick       int             // starts after which NATS servers did not become healthy, of a cluster with interval
	stuck      string          // the cut after which people did not get on, where that is not wrong
	silent     time.Duration   // the longest time, round a cut, in which nothing was acknowledged
	ended      []string        // services that ended by themselves
	problems   []string
}

const head = "| the power is cut | `log.sync` | names | cuts | acknowledged | cuts that lost some | lost | most at once | oldest lost, ms before the cut | longest start after it, s | wrong |\n|---|---|---|---|---|---|---|---|---|---|---|\n"

// count notes what a cut has lost.
func (r *row) count(lost []fleet.Loss, cut time.Time) {
	if len(lost) == 0 {
		return
	}
	r.hit++
	r.most = max(r.most, len(lost))
	for _, l := range lost {
		age := cut.Sub(l.Acked)
		r.lost = append(r.lost, age)
		if age > r.within {
			r.problems = append(r.problems, fmt.Sprintf("%s seq %d was acknowledged %s before the cut and is lost", l.Conversation, l.Seq, age))
		}
	}
}

// end notes services that ended by themselves, which is right only where the log may have lost something.
func (r *row) end(services []string) {
	r.ended = append(r.ended, services...)
	if r.sync != "always" {
		return
	}
	for _, s := range services {
		r.problems = append(r.problems, "a service ended by itself: "+s)
	}
}

// tell prints the row and what is wrong, which is an error.
func (r *row) tell(out io.Writer) error {
	oldest := time.Duration(0)
	if len(r.lost) > 0 {
		oldest = max(0, slices.Max(r.lost)) // an acknowledgement may come when the power has gone
	}
	_, _ = fmt.Fprintf(out, "| %s | %s | %s | %d | %d | %d | %d | %d | %d | %.1f | %d |\n",
		r.name, r.sync, r.names, r.cuts, r.acked, r.hit, len(r.lost), r.most, oldest.Milliseconds(), r.back.Seconds(), len(r.problems))
	if r.sick > 0 {
		_, _ = fmt.Fprintf(out, "  a NATS server was not healthy within %s: %d times\n", startWithin, r.sick)
	}
	if r.stuck != "" {
		_, _ = fmt.Fprintf(out, "  given up after %s, %s\n", cutWithin, r.stuck)
	}
	if r.silent > 0 {
		_, _ = fmt.Fprintf(out, "  longest without an acknowledgement: %.1f s\n", r.silent.Seconds())
	}
	for _, s := range r.ended {
		_, _ = fmt.Fprintln(out, "  ended by itself and was started anew:", s)
	}
	for _, p := range r.problems {
		_, _ = fmt.Fprintln(out, "  WRONG:", p)
	}
	if len(r.problems) > 0 {
		return fmt.Errorf("%s: %d things are wrong", r.name, len(r.problems))
	}
	return nil
}
