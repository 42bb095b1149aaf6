package bench

import (
	"fmt"
	"slices"
	"strings"
)

// measuredCluster says what kind of cluster the figures are of.
type measuredCluster struct {
	Processes int    `json:"processes"`
	Replicas  int    `json:"replicas"`
	Sync      string `json:"logSync"`
	Mongo     string `json:"mongo"`
}

func (c *cluster) measured() *measuredCluster {
	return &measuredCluster{len(c.Processes), c.Replicas, c.Sync, c.Mongo}
}

// label names a part in tables.
func (m *measuredCluster) label(part string) string {
	if m != nil && part == "mongo" && m.Mongo == standIn {
		return part + " (" + standIn + ")"
	}
	return part
}

// writeShares tells what each target and part of a cluster takes of the CPU: one column for each row of messages.
func (r *report) writeShares(s *strings.Builder) {
	rows := slices.DeleteFunc(r.loads(), func(m messageRow) bool { return m.Server == nil || m.Server.Parts == nil })
	if len(rows) == 0 {
		return
	}
	s.WriteString("\nCPU-µs a delivered message, and the share of each target and part:\n")
	heads := []string{"target or part", "processes"}
	for _, m := range rows {
		heads = append(heads, fmt.Sprintf("%s, %s/s", m.Scenario, thousands(m.Rate)))
	}
	table(s, append(heads, "RSS MiB")...)
	for i, p := range rows[0].Server.Parts { // all rows are of the same processes
		line := []string{r.Cluster.label(p.Part), fmt.Sprint(p.Processes)}
		for _, m := range rows {
			one := m.Server.Parts[i]
			line = append(line, known(m.Balance.Deliveries > 0, fmt.Sprintf("%.1f (%.0f %%)", one.DeliveryCPU, one.Share)))
		}
		cells(s, append(line, mib(rows[len(rows)-1].Server.Parts[i].RSS))...)
	}
	line := []string{"**all**", ""}
	for _, m := range rows {
		line = append(line, known(m.Balance.Deliveries > 0, fmt.Sprintf("%.1f", m.Server.DeliveryCPU)))
	}
	cells(s, append(line, mib(rows[len(rows)-1].Server.RSS))...)
}

// loads lists what has shares to show: all rows, and of a search the best try.
func (r *report) loads() []messageRow {
	rows := slices.Clone(r.Messages)
	for _, one := range r.Search {
		if one.Best != nil {
			rows = append(rows, *one.Best)
		}
	}
	return rows
}
