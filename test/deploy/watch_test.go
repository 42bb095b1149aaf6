package deploy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

// metric is a line of docs/operations/metrics.md, which a test of internal/app compares with a running server.
type metric struct{ labels []string }

var metricLine = regexp.MustCompile("(?m)^\\| `(oceanchat_[a-z_]+)` \\| ([a-z, ]*) \\|")

func metrics(t *testing.T) map[string]metric {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs/operations/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]metric{}
	for _, m := range metricLine.FindAllStringSubmatch(string(page), -1) {
		all[m[1]] = metric{strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' || r == ' ' })}
	}
	if len(all) < 50 {
		t.Fatalf("only %d metrics on the page; the test reads it wrongly", len(all))
	}
	return all
}

// known finds the metric that a series belongs to.
func known(all map[string]metric, series string) (metric, bool) {
	if m, ok := all[series]; ok {
		return m, true
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(series, suffix); ok {
			if m, ok := all[base]; ok {
				return m, true
			}
		}
	}
	// Those that every Go program has.
	if slices.Contains([]string{"up", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds", "go_goroutines"}, series) {
		return metric{}, true
	}
	return metric{}, false
}

// anyLabel stands on every series or comes of a function.
var anyLabel = []string{"__name__", "instance", "job", "target", "le"}

// checkQuery parses an expression and looks for each of its series and labels among the product's metrics.
func checkQuery(all map[string]metric, expr string) (problems []string) {
	for from, to := range map[string]string{"$__rate_interval": "5m", "$instance": ".*"} {
		expr = strings.ReplaceAll(expr, from, to)
	}
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", expr, err)}
	}
	labels := slices.Clone(anyLabel)
	parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		m, ok := known(all, v.Name)
		if !ok {
			problems = append(problems, v.Name+" is no metric of the product")
		}
		labels = append(labels, m.labels...)
		for _, match := range v.LabelMatchers {
			if !slices.Contains(anyLabel, match.Name) && !slices.Contains(m.labels, match.Name) {
				problems = append(problems, fmt.Sprintf("%s has no label %s", v.Name, match.Name))
			}
		}
		return nil
	})
	parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
		if a, ok := n.(*parser.AggregateExpr); ok {
			for _, l := range a.Grouping {
				if !slices.Contains(labels, l) {
					problems = append(problems, fmt.Sprintf("%s: no series has the label %s", a, l))
				}
			}
		}
		return nil
	})
	return problems
}

func TestCheckQuery(t *testing.T) {
	t.Parallel()
	all := map[string]metric{"oceanchat_a_total": {[]string{"kind"}}, "oceanchat_b_seconds": {}}
	tests := []struct{ name, expr, want string }{
		{"good", `sum by (kind) (rate(oceanchat_a_total{kind="x", instance=~"$instance"}[$__rate_interval]))`, ""},
		{"histogram", `histogram_quantile(0.99, sum by (le) (rate(oceanchat_b_seconds_bucket[5m])))`, ""},
		{"unknown metric", `oceanchat_c`, "oceanchat_c is no metric"},
		{"unknown label", `oceanchat_a_total{user="x"}`, "has no label user"},
		{"unknown group", `sum by (user) (oceanchat_a_total)`, "no series has the label user"},
		{"no PromQL", `sum by (kind (`, "parse error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(checkQuery(all, tt.expr), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("checkQuery(%s) = %q; want %q", tt.expr, got, tt.want)
			}
		})
	}
}

// Dashboards are JSON that Grafana reads, and ask for nothing that the product does not have.
func TestDashboards(t *testing.T) {
	t.Parallel()
	all := metrics(t)
	files, err := filepath.Glob(filepath.Join(root, "deploy/grafana/*.json"))
	if err != nil || len(files) != 4 {
		t.Fatalf("dashboards = %v, %v; want 4", files, err)
	}
	uids := map[string]bool{}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var board struct {
				UID, Title string
				Panels     []struct {
					ID          int
					Type, Title string
					Datasource  struct{ UID string }
					GridPos     struct{ X, Y, W, H int }
					Targets     []struct{ Expr string }
				}
			}
			readJSON(t, file, &board)
			if board.UID == "" || uids[board.UID] || board.Title == "" {
				t.Errorf("uid %q, title %q; want both, and no uid twice", board.UID, board.Title)
			}
			uids[board.UID] = true
			ids := map[int]bool{}
			for _, p := range board.Panels {
				if ids[p.ID] || p.Title == "" || p.GridPos.X+p.GridPos.W > 24 {
					t.Errorf("panel %d %q: no title, an id that is taken, or too far to the right", p.ID, p.Title)
				}
				ids[p.ID] = true
				if p.Type == "row" {
					continue
				}
				if len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
					t.Errorf("panel %q: %d queries to %q; want some to the chosen source", p.Title, len(p.Targets), p.Datasource.UID)
				}
				for _, q := range p.Targets {
					for _, problem := range checkQuery(all, q.Expr) {
						t.Errorf("panel %q: %s", p.Title, problem)
					}
				}
			}
		})
	}
}

func readJSON(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

var (
	alertName = regexp.MustCompile(`^OceanChat[A-Z][A-Za-z]+$`)
	heading   = regexp.MustCompile(`(?m)^## (.+)$`)
)

// Each alert can fire, says what it means, and has an entry in the runbooks.
func TestAlerts(t *testing.T) {
	t.Parallel()
	all := metrics(t)
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	readYAML(t, "deploy/prometheus/rules.yaml", &file)
	runbooks, err := os.ReadFile(filepath.Join(root, "docs/operations/runbooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{} // whether an alert leads there
	for _, m := range heading.FindAllStringSubmatch(string(runbooks), -1) {
		anchors[strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")] = false
	}
	names := map[string]bool{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if !alertName.MatchString(r.Alert) || names[r.Alert] {
				t.Errorf("alert %q: a bad name, or one that is taken", r.Alert)
			}
			names[r.Alert] = true
			for _, problem := range checkQuery(all, r.Expr) {
				t.Errorf("alert %s: %s", r.Alert, problem)
			}
			if s := r.Labels["severity"]; s != "critical" && s != "warning" {
				t.Errorf("alert %s: severity %q", r.Alert, s)
			}
			if r.Annotations["summary"] == "" {
				t.Errorf("alert %s has no summary", r.Alert)
			}
			page, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "#")
			if _, ok := anchors[anchor]; !ok || !strings.HasSuffix(page, "/docs/operations/runbooks.md") {
				t.Errorf("alert %s: runbook %s#%s is not there", r.Alert, page, anchor)
			}
			anchors[anchor] = true
			if !strings.Contains(string(runbooks), "`"+r.Alert+"`") {
				t.Errorf("the runbooks do not name %s", r.Alert)
			}
		}
	}
	for anchor, used := range anchors {
		if !used {
			t.Errorf("no alert leads to the runbook %q", anchor)
		}
	}
}

// readYAML reads a file of this repository.
func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}
