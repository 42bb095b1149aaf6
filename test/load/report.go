package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// report is everything that a run has measured.
type report struct {
	Taken       string      `json:"taken"`
	Environment string      `json:"environment"`
	Command     string      `json:"command"`
	Size        int64       `json:"binaryBytes,omitempty"`
	Stripped    int64       `json:"strippedBytes,omitempty"`
	Seeding     *seeding    `json:"seeding,omitempty"`
	Start       *startRow   `json:"start,omitempty"`
	Pairs       []pairRow   `json:"pairs,omitempty"`
	Idle        *idleRow    `json:"idle,omitempty"`
	History     *historyRow `json:"history,omitempty"`
	Errors      []string    `json:"errors,omitempty"`
}

// fail remembers what went wrong in a row, so that the program ends with a status that is not 0.
func (r *report) fail(row, err string) {
	if err != "" {
		r.Errors = append(r.Errors, row+": "+strings.ReplaceAll(err, "\n", "; "))
	}
}

func (r *report) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// markdown writes the tables. Times are in milliseconds, CPU in microseconds.
func (r *report) markdown(w io.Writer) error {
	var s strings.Builder
	fmt.Fprintf(&s, "%s. %s\n\n    %s\n", r.Taken, r.Environment, r.Command)
	r.writeStart(&s)
	r.writePairs(&s)
	r.writeIdle(&s)
	r.writeHistory(&s)
	for _, e := range r.Errors {
		fmt.Fprintf(&s, "\n**FAILED** %s\n", e)
	}
	_, err := io.WriteString(w, s.String())
	return err
}

func (r *report) writeStart(s *strings.Builder) {
	if r.Start == nil {
		return
	}
	row := r.Start
	table(s, "what", "figure")
	cells(s, "binary; stripped", mib(r.Size)+"; "+mib(r.Stripped)+" MiB")
	cells(s, "start to ready, fresh directory: median, slowest", row.Fresh.String())
	cells(s, fmt.Sprintf("with %d messages, after SIGTERM", row.Messages), row.Stopped.String())
	cells(s, fmt.Sprintf("with %d messages, after SIGKILL", row.Messages), row.Killed.String())
	cells(s, "resident memory when idle", mib(row.RSS)+" MiB")
	cells(s, "CPU when idle", fmt.Sprintf("%.0f µs/s", row.CPU))
	cells(s, "disk p50 / p99", row.Disk.two()+" ms")
}

func (t startTimes) String() string {
	return fmt.Sprintf("%s, %s ms (%d starts)", ms(t.Median), ms(t.Slowest), t.Count)
}

func (r *report) writePairs(s *strings.Builder) {
	if len(r.Pairs) == 0 {
		return
	}
	table(s, "messages/s", "log.sync", "disk p50 / p99", "send→ack p50 / p99 / p99.9", "send→receive p50 / p99 / p99.9",
		"server CPU-µs", "entries a delivery, a transaction", "frames", "client late p50 / p99", "client CPU-µs", "others", "RSS MiB",
		"sent = acknowledged = received", "doubles, holes")
	for _, p := range r.Pairs {
		account := fmt.Sprint(p.Balance.Sent)
		if p.Error != "" {
			account = fmt.Sprintf("**%d ≠ %d ≠ %d**", p.Balance.Sent, p.Balance.Acked, p.Balance.Received)
		}
		cells(s, thousands(p.Rate), p.Sync, p.Disk.two(), p.Ack.three(), p.Receive.three(),
			fmt.Sprintf("%.0f", p.ServerCPU), fmt.Sprintf("%.1f, %.1f", p.Delivered, p.Stored), fmt.Sprintf("%.1f", p.Frames),
			p.Late.two(), fmt.Sprintf("%.0f", p.ClientCPU), fmt.Sprintf("%.0f %%", p.Others), mib(p.RSS),
			account, fmt.Sprintf("%d, %d", p.Balance.Doubles, p.Balance.Holes))
	}
	for _, sync := range []string{"always", "interval"} {
		if rate := highest(r.Pairs, sync); rate > 0 {
			fmt.Fprintf(s, "\nHighest of these with send→receive p99 ≤ %v, log.sync %s: %s/s.\n", tolerable, sync, thousands(rate))
		}
	}
}

// tolerable is the latency at which a rate no longer counts as kept.
const tolerable = 50 * time.Millisecond

// highest returns the highest rate that balanced within tolerable; 0 for none.
func highest(rows []pairRow, sync string) int {
	best := 0
	for _, p := range rows {
		if p.Sync == sync && p.Error == "" && p.Receive.P99 <= tolerable {
			best = max(best, p.Rate)
		}
	}
	return best
}

func (r *report) writeIdle(s *strings.Builder) {
	if r.Idle == nil {
		return
	}
	row := r.Idle
	table(s, "idle connections", "RSS KiB each", "heap, stacks KiB each", "RSS before, after MiB", "CPU-µs a connect", "connects/s", "CPU-µs each a second",
		"disk p50 / p99")
	rate := 0.0
	if row.Connecting > 0 {
		rate = float64(row.Connections) / row.Connecting.Seconds()
	}
	cells(s, thousands(row.Connections), kib(row.PerConn), kib(row.Heap)+", "+kib(row.Stacks), mib(row.RSSBefore)+", "+mib(row.RSSAfter),
		fmt.Sprintf("%.0f", row.ConnectCPU), fmt.Sprintf("%.0f", rate), fmt.Sprintf("%.1f", row.RestCPU), row.Disk.two())
	if r.Seeding != nil {
		fmt.Fprintf(s, "\nSeeding: %d users, %d log-ins in %s s with cheap passwords; settled for %v.\n",
			r.Seeding.Users, r.Seeding.Logins, fmt.Sprintf("%.1f", r.Seeding.Took.Seconds()), row.Settle)
	}
}

func (r *report) writeHistory(s *strings.Builder) {
	if r.History == nil {
		return
	}
	row := r.History
	table(s, "latest 50 over REST", "reads", "p50 / p99", "CPU-µs a read", "disk p50 / p99")
	cells(s, fmt.Sprintf("first after a start, conversations of %d", row.Messages), fmt.Sprint(row.First.Count), row.First.two(), "–", row.Disk.two())
	cells(s, "again", fmt.Sprint(row.Again.Count), row.Again.two(), fmt.Sprintf("%.0f", row.CPU), "")
}

func table(s *strings.Builder, heads ...string) {
	s.WriteString("\n")
	cells(s, heads...)
	s.WriteString("|" + strings.Repeat("---|", len(heads)) + "\n")
}

func cells(s *strings.Builder, values ...string) {
	s.WriteString("| " + strings.Join(values, " | ") + " |\n")
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f", float64(bytes)/(1<<20)) }

func kib(bytes float64) string { return fmt.Sprintf("%.1f", bytes/(1<<10)) }

// thousands writes 12345 as 12,345.
func thousands(n int) string {
	digits := fmt.Sprint(n)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// day is the form of a report's date.
func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
