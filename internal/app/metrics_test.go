package app

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/lifecycle"
	"github.com/oceanchat/oceanchat/internal/obs"
)

var updateMetrics = flag.Bool("update-metrics", false, "write the table of docs/operations/metrics.md anew, keeping its last column")

const (
	metricsPage  = "../../docs/operations/metrics.md"
	metricsBegin = "<!-- metrics: begin -->\n"
	metricsEnd   = "<!-- metrics: end -->\n"
)

// The page of metrics lists what a running server registers, no more and no less, and says for each when to worry.
func TestMetricsPage(t *testing.T) {
	page, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(page), metricsBegin)
	old, after, ok := strings.Cut(rest, metricsEnd)
	if !ok {
		t.Fatalf("%s has no table between %q and %q", metricsPage, metricsBegin, metricsEnd)
	}
	worries := map[string]string{}
	for line := range strings.Lines(old) {
		if cells := strings.Split(strings.Trim(line, "|\n"), " | "); len(cells) == 4 {
			worries[strings.Trim(cells[0], " `")] = strings.TrimSpace(cells[3])
		}
	}
	shown, registered := running(t)
	table := metricsTable(registered, worries)
	if *updateMetrics {
		if err := os.WriteFile(metricsPage, []byte(before+metricsBegin+table+metricsEnd+after), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(old, table); diff != "" {
		t.Errorf("docs/operations/metrics.md is not what the server shows; run go test ./internal/app -run TestMetricsPage -update-metrics"+
			" and fill in when to worry (-page +server):\n%s", diff)
	}
	for _, d := range registered {
		if w := worries[d.name]; w == "" || w == "?" {
			t.Errorf("the page does not say when to worry about %s", d.name)
		}
		for _, l := range d.labels {
			if !slices.Contains(boundedLabels, l) {
				t.Errorf("%s has the label %s, which nobody has called bounded", d.name, l)
			}
		}
	}
	for line := range strings.Lines(shown) {
		f := strings.Fields(line)
		if len(f) != 4 || f[1] != "TYPE" || !strings.HasPrefix(f[2], "oceanchat_") {
			continue
		}
		if worries[f[2]] == "" {
			t.Errorf("/metrics shows %s, which is not on the page", f[2])
		}
		if isTotal := strings.HasSuffix(f[2], "_total"); isTotal != (f[3] == "counter") {
			t.Errorf("%s is a %s; want counters, and nothing else, to end in _total", f[2], f[3])
		}
	}
}

// boundedLabels are labels whose values come from the program and not from clients.
var boundedLabels = []string{
	"by", "cause", "code", "door", "kind", "method", "outcome", "partition", "queue", "reader", "reason", "result", "route",
	"service", "status", "store", "vendor", "version", "what",
}

type metric struct {
	name, help string
	labels     []string
}

var descText = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "(.*?)", (?:unit: "[^"]*", )?constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// metricsTable keeps the last column of what was there.
func metricsTable(all []metric, worries map[string]string) string {
	var b strings.Builder
	b.WriteString("| metric | labels | meaning | when to worry |\n|---|---|---|---|\n")
	for _, d := range all {
		worry := worries[d.name]
		if worry == "" {
			worry = "?"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.name, strings.Join(d.labels, ", "), d.help, worry)
	}
	return b.String()
}

// running starts a whole server, and returns its /metrics and what it has registered of its own.
func running(t *testing.T) (shown string, registered []metric) {
	t.Helper()
	var cfg Config
	dir := t.TempDir()
	ops := unused(t)
	_, err := config.Load(&cfg, config.Sources{Args: []string{
		"--data-dir", dir, "--http-addr", unused(t), "--tcp-addr", "", "--ops-addr", ops, "--traces-endpoint", "http://" + unused(t),
		"--ws-gateway-drain-spread", "0s",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := makeDataDir(filepath.Clean(cfg.DataDir)); err != nil {
		t.Fatal(err)
	}
	reg := obs.NewRegistry()
	log := slog.New(slog.DiscardHandler)
	parts, status, err := assemble(&cfg, plan{targets: targets}, log, reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = lifecycle.Run(ctx, log, parts, lifecycle.Options{Status: status, Ready: func() {
		registered, shown = ownMetricsOf(reg), get(t, "http://"+ops+"/metrics")
		cancel()
	}})
	if err != nil {
		t.Fatalf("Run = %v; want nil", err)
	}
	return shown, registered
}

func ownMetricsOf(reg *prometheus.Registry) (own []metric) {
	descs := make(chan *prometheus.Desc)
	go func() { reg.Describe(descs); close(descs) }()
	for d := range descs {
		m := descText.FindStringSubmatch(d.String())
		if m == nil || !strings.HasPrefix(m[1], "oceanchat_") || slices.ContainsFunc(own, func(o metric) bool { return o.name == m[1] }) {
			continue
		}
		var labels []string
		for l := range strings.SplitSeq(m[3]+","+m[4], ",") {
			if name, _, _ := strings.Cut(l, "="); name != "" {
				labels = append(labels, name)
			}
		}
		own = append(own, metric{m[1], strings.ReplaceAll(m[2], `\"`, `"`), labels})
	}
	slices.SortFunc(own, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	return own
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Errorf("GET %s = %v", url, err)
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("GET %s = %d, %v", url, resp.StatusCode, err)
	}
	return string(body)
}

func unused(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}
