package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// report is everything that a run has measured. Its JSON is an interface: members are added, never renamed. Durations are
// in nanoseconds.
type report struct {
	Version     string           `json:"version"`
	Taken       string           `json:"taken"`
	Environment string           `json:"environment"`
	Command     string           `json:"command"`
	Cluster     *measuredCluster `json:"cluster,omitempty"`
	OK          bool             `json:"ok"`
	Seeding     *seeding         `json:"seeding,omitempty"`
	Start       *startRow        `json:"start,omitempty"`
	Messages    []messageRow     `json:"messages,omitempty"`
	Search      []searchRow      `json:"search,omitempty"`
	Overload    []*overloadRow   `json:"overload,omitempty"`
	Idle        *idleRow         `json:"idle,omitempty"`
	Storm       *stormRow        `json:"storm,omitempty"`
	Stay        *stayRow         `json:"stay,omitempty"`
	History     *historyRow      `json:"history,omitempty"`
	Errors      []string         `json:"errors"`
}

// seeding says what was made before anything was measured.
type seeding struct {
	Users int           `json:"users"`
	Took  time.Duration `json:"tookNs"`
}

// fail remembers what went wrong, so that the command ends with a status that is not 0, and returns it in one line.
func (r *report) fail(what string, err error) string {
	if err == nil {
		return ""
	}
	line := strings.ReplaceAll(err.Error(), "\n", "; ")
	r.Errors = append(r.Errors, what+": "+line)
	return line
}

func (r *report) json(w io.Writer) error {
	if r.Errors == nil {
		r.Errors = []string{}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// markdown writes the tables. Times are in milliseconds, CPU in microseconds.
func (r *report) markdown(w io.Writer) error {
	var s strings.Builder
	fmt.Fprintf(&s, "%s, version %s. %s.\n\n    %s\n", r.Taken, r.Version, r.Environment, r.Command)
	r.writeStart(&s)
	r.writeMessages(&s)
	r.writeSearch(&s)
	r.writeShares(&s)
	r.writeOverload(&s)
	r.writeIdle(&s)
	r.writeStorm(&s)
	r.writeStay(&s)
	r.writeHistory(&s)
	r.writeLegend(&s)
	if r.Seeding != nil {
		fmt.Fprintf(&s, "\nBefore: %s users with sessions made in %.1f s.\n", thousands(r.Seeding.Users), r.Seeding.Took.Seconds())
	}
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
	cells(s, "binary", mib(row.Binary)+" MiB")
	cells(s, "start to ready, fresh directory: median, slowest", row.Fresh.String())
	cells(s, fmt.Sprintf("with %d messages, after SIGTERM", row.Messages), row.Stopped.String())
	cells(s, fmt.Sprintf("with %d messages, after SIGKILL", row.Messages), row.Killed.String())
	cells(s, "resident memory when idle, MiB", known(row.RSS > 0, mib(row.RSS)))
	cells(s, "CPU when idle, µs/s", known(row.RSS > 0, fmt.Sprintf("%.0f", row.CPU)))
	cells(s, "disk p50 / p99, ms", row.Disk.two())
}

func (t startTimes) String() string {
	if t.Count == 0 {
		return none
	}
	return fmt.Sprintf("%s, %s ms (%d starts)", ms(t.Median), ms(t.Slowest), t.Count)
}

var messageHeads = []string{
	"messages/s", "log.sync", "disk p50 / p99 before; after, ms", "send→ack p50 / p99 / p99.9, ms", "send→receive p50 / p99 / p99.9, ms",
	"held", "acknowledged/s", "server CPU-µs a message, a delivery", "entries a delivery, a transaction", "frames a message", "client late p50 / p99, ms",
	"client CPU-µs a message", "others, % of the cores", "RSS MiB", "sent = acknowledged = stored = received", "doubles, holes, lost",
}

func (r *report) writeMessages(s *strings.Builder) {
	scenario := ""
	for _, m := range r.Messages {
		if m.Scenario != scenario {
			scenario = m.Scenario
			if scenario == "group" {
				fmt.Fprintf(s, "\nGroups: %d, of %s connected members each.\n", m.Conversations, thousands(m.Members))
			}
			table(s, messageHeads...)
		}
		m.cells(s)
	}
}

// account returns the last two cells of a row: the messages that count, or what does not balance, warm-up included.
func (m *messageRow) account() (sums, wrongs string) {
	b := m.Balance
	stored := fmt.Sprint(b.Stored)
	if b.Unread {
		stored = "could not be read"
	}
	switch {
	case m.Interrupted:
		return "interrupted", none
	case b.Sent == 0:
		return none, none
	case b.Acked != b.Sent || b.Stored != b.Sent || b.Received != b.Sent:
		sums = fmt.Sprintf("**%d ≠ %d ≠ %s ≠ %d**", b.Sent, b.Acked, stored, b.Received)
	default:
		sums = fmt.Sprint(m.Counted)
	}
	if b.Unread {
		return sums, fmt.Sprintf("%d, %s, %s", b.Doubles, none, none)
	}
	return sums, fmt.Sprintf("%d, %d, %d", b.Doubles, b.Holes, b.Lost)
}

func (m *messageRow) cells(s *strings.Builder) {
	account, wrongs := m.account()
	cpu, batches, frames, client, others, rss := none, none, none, none, none, none
	if c := m.Server; c != nil {
		cpu, batches = fmt.Sprintf("%.0f, %.1f", c.CPU, c.DeliveryCPU), fmt.Sprintf("%.1f, %.1f", c.Delivered, c.Stored)
		frames, client = fmt.Sprintf("%.1f", c.Frames), fmt.Sprintf("%.0f", c.ClientCPU)
		others, rss = fmt.Sprintf("%.0f", c.Others), mib(c.RSS)
	}
	cells(s, thousands(m.Rate), known(m.Sync != "", m.Sync), m.Disk.two()+"; "+m.DiskAfter.two(), m.Ack.three(), m.Receive.three(),
		known(m.Ack.Count > 0, yes(m.Held)), known(m.Ack.Count > 0, fmt.Sprintf("%.0f", m.Throughput)),
		cpu, batches, frames, m.Late.two(), client, others, rss, account, wrongs)
}

// known returns a figure if it was measured.
func known(is bool, figure string) string {
	if is {
		return figure
	}
	return none
}

// writeLegend says what the tables of messages leave open.
func (r *report) writeLegend(s *strings.Builder) {
	if len(r.Messages)+len(r.Search) == 0 {
		return
	}
	s.WriteString("\nheld: everything balances and the p99 of send→ack is within --p99. Latencies count from when a message was due. – was not measured.\n" +
		"All figures and the number of messages are without the warm-up, which must balance too; an account that does not balance (≠) counts it.\n")
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

func (r *report) writeSearch(s *strings.Builder) {
	for _, row := range r.Search {
		fmt.Fprintf(s, "\n**Highest rate held with p99 of send→ack ≤ %v%s: %s messages a second.**\n", row.Bound, comma(row.Sync), known(row.Best != nil, thousands(row.Held)))
		table(s, messageHeads...)
		for _, t := range row.Tries {
			t.cells(s)
		}
	}
}

func (r *report) writeIdle(s *strings.Builder) {
	if r.Idle == nil {
		return
	}
	row := r.Idle
	after := row.Local && row.RSSAfter > 0 // the last figures that are taken
	table(s, "idle connections", "lost", "RSS KiB each", "heap, stacks KiB each", "RSS before, after MiB", "CPU-µs a connect", "connects/s", "CPU-µs each a second",
		"disk p50 / p99, ms")
	cells(s, thousands(row.Connections), fmt.Sprint(row.Lost), known(after, kib(row.PerConn)), known(after, kib(row.Heap)+", "+kib(row.Stacks)),
		known(row.RSSBefore > 0, mib(row.RSSBefore))+", "+known(after, mib(row.RSSAfter)), known(row.ConnectCPU > 0, fmt.Sprintf("%.0f", row.ConnectCPU)),
		perSecond(row.Connections, row.Connecting), known(after, fmt.Sprintf("%.1f", row.RestCPU)), row.Disk.two())
	fmt.Fprintf(s, "\nSettled for %v.\n", row.Settle)
}

func (r *report) writeStorm(s *strings.Builder) {
	if r.Storm == nil {
		return
	}
	row := r.Storm
	table(s, "storm: come back", "at a time", "all back after", "connects/s", "since the break p50 / p99, ms", "each p50 / p99, ms", "CPU-µs a connect", "calls to the database a connect (most)", "disk p50 / p99, ms")
	cells(s, thousands(row.Connections), fmt.Sprint(row.AtATime), known(row.Took > 0, fmt.Sprintf("%.2f s", row.Took.Seconds())), perSecond(row.Connections, row.Took),
		row.Since.two(), row.Each.two(), known(row.ConnectCPU > 0, fmt.Sprintf("%.0f", row.ConnectCPU)), row.Database.String(), row.Disk.two())
}

func perSecond(n int, d time.Duration) string {
	if d <= 0 {
		return none
	}
	return fmt.Sprintf("%.0f", float64(n)/d.Seconds())
}

func (r *report) writeHistory(s *strings.Builder) {
	if r.History == nil {
		return
	}
	row := r.History
	again := fmt.Sprintf("%d a second", row.Rate)
	table(s, "latest 50 over REST", "reads", "p50 / p99 / p99.9, ms", "CPU-µs a read", "disk p50 / p99, ms")
	if row.StandIn {
		again += ", " + standIn
	}
	if row.First.Count > 0 {
		cells(s, fmt.Sprintf("first after a start, conversations of %d", row.Messages), fmt.Sprint(row.First.Count), row.First.three(), none, row.Disk.two())
	}
	cells(s, again, known(row.Again.Count > 0, fmt.Sprint(row.Again.Count)), row.Again.three(), known(row.CPU > 0, fmt.Sprintf("%.0f", row.CPU)), none)
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
