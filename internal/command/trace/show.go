package trace

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/oceanchat/oceanchat/internal/journey"
)

// show prints a report for people: what happened to the message itself, then a line for each device, and for each
// gateway where it went to many.
func show(w io.Writer, r journey.Report) error {
	var b strings.Builder
	start := origin(r)
	fmt.Fprintf(&b, "Message %s%s\n\n", r.MessageID, about(r))
	missing := head(&b, r, start)
	fmt.Fprintln(&b)
	if err := ways(&b, r, start); err != nil {
		return err
	}
	fmt.Fprintln(&b)
	if len(missing) > 0 {
		fmt.Fprintf(&b, "Not known: %s. It has not happened yet, or the process that saw it has forgotten it or stopped.\n", strings.Join(missing, ", "))
	}
	b.WriteString(memory(r))
	_, err := io.WriteString(w, b.String())
	return err
}

// origin is the step that times are counted from: when it was accepted, or else the first that is known.
func origin(r journey.Report) journey.Step {
	for _, s := range r.Steps {
		if s.Stage == journey.Accepted.String() {
			return s
		}
	}
	return r.Steps[0]
}

func about(r journey.Report) string {
	sender, request, conversation := "", "", ""
	for _, s := range r.Steps {
		switch s.Stage {
		case journey.Accepted.String():
			sender, request = s.UserID, s.Detail
		case journey.Committed.String():
			sender, conversation = s.UserID, s.Detail
		}
	}
	var out strings.Builder
	for _, p := range [...]struct{ what, id string }{{"conversation", conversation}, {"sender", sender}, {"request", request}} {
		if p.id != "" {
			fmt.Fprintf(&out, "\n  %-13s %s", p.what, p.id)
		}
	}
	return out.String()
}

// head prints the stages of the message itself and returns those that nobody knows.
func head(b *strings.Builder, r journey.Report, start journey.Step) (missing []string) {
	for _, stage := range []journey.Stage{journey.Accepted, journey.Committed, journey.Stored} {
		known := false
		for _, s := range r.Steps {
			if s.Stage != stage.String() {
				continue
			}
			at := after(s.At, start.At)
			if s == start {
				at = s.At.Format("2006-01-02 15:04:05.000000 MST")
			}
			fmt.Fprintf(b, "  %-13s %s  (%s)\n", s.Stage, at, s.Process)
			known = true
		}
		if !known {
			missing = append(missing, stage.String())
		}
	}
	return missing
}

// way is what is known of one recipient.
type way struct {
	who   string
	where string
	steps []string
}

// ways prints a line for each recipient, in the order in which they were first heard of.
func ways(b *strings.Builder, r journey.Report, start journey.Step) error {
	var order []*way
	byKey := map[[3]string]*way{}
	for _, s := range r.Steps {
		if s.Stage == journey.Accepted.String() || s.Stage == journey.Committed.String() || s.Stage == journey.Stored.String() {
			continue
		}
		key := [3]string{s.UserID, s.DeviceID}
		if s.UserID == "" {
			key[2] = s.Via
		}
		x := byKey[key]
		if x == nil {
			x = &way{who: who(s)}
			byKey[key] = x
			order = append(order, x)
		}
		if x.where == "" && s.Connection != "" {
			x.where = "connection " + s.Connection + " of " + s.Via
		}
		step := word(s) + " " + after(s.At, start.At)
		if s == start {
			step = word(s) + " " + s.At.Format("2006-01-02 15:04:05.000000 MST")
		}
		x.steps = append(x.steps, step)
	}
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, x := range order {
		_, _ = fmt.Fprintf(t, "  %s\t%s", x.who, strings.Join(x.steps, " → "))
		if x.where != "" {
			_, _ = fmt.Fprintf(t, "\t%s", x.where)
		}
		_, _ = fmt.Fprintln(t)
	}
	return t.Flush()
}

func who(s journey.Step) string {
	switch {
	case s.UserID != "" && s.DeviceID != "":
		return s.UserID + " / " + s.DeviceID
	case s.UserID != "":
		return s.UserID
	case s.DeviceID != "":
		return "device " + s.DeviceID
	case s.Via != "":
		return "via " + s.Via
	}
	return "others"
}

// word is a step without its time.
func word(s journey.Step) string {
	out := s.Stage
	if s.Connection == "" && s.UserID != "" && s.Via != "" {
		out += " " + s.Via // a vendor
	}
	if s.Count > 0 {
		out += fmt.Sprintf(" ×%d", s.Count)
	}
	if s.Detail != "" {
		out += " (" + s.Detail + ")"
	}
	return out
}

// after is a time that passed, as people read it.
func after(at, start time.Time) string {
	ms := float64(at.Sub(start).Nanoseconds()) / 1e6
	switch {
	case ms >= 10_000 || ms <= -10_000:
		return fmt.Sprintf("%+.1f s", ms/1000)
	case ms >= 100 || ms <= -100:
		return fmt.Sprintf("%+.0f ms", ms)
	}
	return fmt.Sprintf("%+.2f ms", ms)
}

// memory says who answered, and since when they remember.
func memory(r journey.Report) string {
	var b strings.Builder
	if r.Problem != "" {
		fmt.Fprintf(&b, "Only one process was asked: %s.\n", r.Problem)
	}
	if len(r.Processes) == 0 {
		return b.String()
	}
	shortest := slices.MaxFunc(r.Processes, func(a, b journey.Process) int { return a.Since.Compare(b.Since) })
	who := shortest.Name
	if n := len(r.Processes); n > 1 {
		who = fmt.Sprintf("%d processes answered; the one with the shortest memory, %s,", n, who)
	}
	fmt.Fprintf(&b, "%s remembers what happened since %s.\n", who, shortest.Since.Format("2006-01-02 15:04:05 MST"))
	return b.String()
}
