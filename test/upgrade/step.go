package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oceanchat/oceanchat/test/fleet"
	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// How long a step may take, and getting in sync after each replacement.
const (
	stepWithin = 4 * time.Minute
	syncWithin = 90 * time.Second
)

const head = "| step | processes | connections lost | longest without an acknowledgement, s | all in sync after, s | acknowledged | wrong |\n|---|---|---|---|---|---|---|\n"

// row is what a step did.
type row struct {
	processes int
	lost      int           // connections
	silence   time.Duration // the longest without an acknowledgement
	back      time.Duration // the longest until the last client was in sync, from the time when the new processes were ready
	problems  []string
}

// step replaces processes under load and judges. An error ends the walk.
func (w *world) step(ctx context.Context, s step) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stepWithin, errors.New("the step takes too long"))
	defer cancel()
	res, before := row{}, w.fleet.Check.AckedCount()
	talking, stop := context.WithCancel(ctx)
	defer stop()
	var load sync.WaitGroup
	load.Go(func() { w.fleet.Talk(talking) })
	err := w.heard(ctx)
	for _, group := range s.groups {
		if err == nil {
			err = w.replace(ctx, group, s.to, &res)
		}
	}
	stop()
	load.Wait()
	if err == nil {
		var wrong []string
		wrong, err = w.fleet.Judge(ctx)
		res.problems = append(res.problems, wrong...)
	}
	_, _ = fmt.Fprintf(w.out, "| %s | %d | %d | %.1f | %.1f | %d | %d |\n", s.name, res.processes, res.lost, res.silence.Seconds(),
		res.back.Seconds(), w.fleet.Check.AckedCount()-before, len(res.problems))
	for _, p := range res.problems {
		_, _ = fmt.Fprintln(w.out, "  WRONG:", p)
	}
	if err == nil && len(res.problems) > 0 {
		err = fmt.Errorf("%s: %d things are wrong", s.name, len(res.problems))
	}
	return err
}

// heard waits until everyone has sent and got a little more, and everything that was acknowledged until then.
func (w *world) heard(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, syncWithin, errors.New("not in sync in time"))
	defer cancel()
	f := w.fleet
	since := f.Check.AckedCount()
	enough := func(*fleet.Boat) bool { return f.Check.AckedCount() >= since+2*len(f.Boats) }
	if err := f.Until(ctx, "heard", enough); err != nil {
		return err
	}
	return f.InSync(ctx, f.Heads())
}

// replace lets processes become another version, and looks at what everyone sees of it.
func (w *world) replace(ctx context.Context, group []*local.Process, to version, res *row) error {
	w.fleet.Mark()
	var all errgroup.Group
	for _, p := range group {
		all.Go(func() error { return w.become(ctx, p, to) })
	}
	if err := all.Wait(); err != nil {
		return err
	}
	ready := time.Now()
	if err := w.heard(ctx); err != nil {
		return err
	}
	lost, silence := w.fleet.Since()
	res.back, res.silence = max(res.back, time.Since(ready)), max(res.silence, silence)
	res.lost, res.processes = res.lost+lost, res.processes+len(group)
	may := 0 // connections end with their gateway
	if slices.ContainsFunc(group, func(p *local.Process) bool { return p.TCP != "" }) {
		may = len(w.fleet.Boats)
	}
	if lost > may {
		res.problems = append(res.problems, fmt.Sprintf("%d connections were lost when %s was replaced; at most %d may be", lost, names(group), may))
	}
	problems, err := w.witness.look(ctx, w.cluster)
	for _, p := range problems {
		res.problems = append(res.problems, fmt.Sprintf("when %s was replaced: %s", names(group), p))
	}
	return err
}

func names(group []*local.Process) string {
	var list []string
	for _, p := range group {
		list = append(list, p.Name)
	}
	return strings.Join(list, ", ")
}

// become ends a process politely and starts it as another version.
func (w *world) become(ctx context.Context, p *local.Process, to version) error {
	if err := ended(p); err != nil {
		return err
	}
	p.Use(to.path)
	var err error
	if w.single != nil {
		to, err = w.open(ctx, p, to)
	} else {
		err = p.Restart(ctx)
	}
	if err != nil {
		return err
	}
	return runs(ctx, p, to.name)
}

// runs asks a process which version it is: a test of one version beside itself would prove nothing.
func runs(ctx context.Context, p *local.Process, version string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Ops+"/metrics", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(resp.Body)
	err = errors.Join(err, resp.Body.Close())
	if want := fmt.Sprintf(`oceanchat_build_info{version=%q}`, version); err == nil && !strings.Contains(string(text), want) {
		err = fmt.Errorf("the metrics of %s have no %s", p.Name, want)
	}
	return err
}
