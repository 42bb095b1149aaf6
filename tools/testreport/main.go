// Command testreport reads `go test -json` and prints what `go test` would: the closing line of every
// package and the output of every failed test. Unlike `go test` it also fails when a test was skipped,
// because a suite that skips silently proves nothing; the skips are listed with their reasons.
//
// It exits 1 when a test failed, a package did not build, a test was skipped, or nothing ran at all.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// event is one line of test2json; see `go doc test2json`.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build events
	Test        string
	Output      string
	FailedBuild string
}

func main() {
	if !report(os.Stdin, os.Stdout) {
		os.Exit(1)
	}
}

// run keeps the output of tests until it is known whether they failed.
type run struct {
	out      io.Writer
	pending  map[string][]string // by package and test
	skipped  []string
	packages int
	failures int
}

// report copies what matters from in to out and reports whether all tests ran and passed.
func report(in io.Reader, out io.Writer) bool {
	r := &run{out: out, pending: map[string][]string{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20) // one line of output may be long
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(out, lines.Text()) // not of test2json: show it as it is
			continue
		}
		r.take(e)
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(out, "testreport: read:", err)
		return false
	}
	return r.close()
}

func (r *run) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		r.output(e, key)
	case "pass":
		delete(r.pending, key)
		r.count(e)
	case "skip":
		if e.Test != "" {
			r.skipped = append(r.skipped, strings.TrimSpace(key)+": "+reason(r.pending[key]))
		}
		delete(r.pending, key)
	case "fail":
		r.failures++
		r.count(e)
		fmt.Fprint(r.out, strings.Join(r.pending[key], ""))
		delete(r.pending, key)
	case "build-fail":
		r.failures++
	}
}

// output shows the lines of packages and builds at once and keeps those of tests.
func (r *run) output(e event, key string) {
	switch {
	case e.Test != "":
		r.pending[key] = append(r.pending[key], e.Output)
	case strings.HasPrefix(e.Output, "PASS") || strings.HasPrefix(e.Output, "coverage:"):
		// `go test` without -v does not show them either.
	default:
		fmt.Fprint(r.out, e.Output)
	}
}

func (r *run) count(e event) {
	if e.Test == "" {
		r.packages++
	}
}

// close prints what is left: tests that never ended, skips, a summary.
func (r *run) close() bool {
	keys := make([]string, 0, len(r.pending))
	for key := range r.pending {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys { // a crash ends a test without a verdict
		fmt.Fprintf(r.out, "no verdict: %s\n%s", key, strings.Join(r.pending[key], ""))
	}
	for _, s := range r.skipped {
		fmt.Fprintln(r.out, "SKIP", s)
	}
	fmt.Fprintf(r.out, "%d packages with tests, %d failures, %d skips\n", r.packages, r.failures, len(r.skipped))
	return r.failures == 0 && len(r.skipped) == 0 && len(keys) == 0 && r.packages > 0
}

// reason finds what the test gave to t.Skip in its output.
func reason(output []string) string {
	var lines []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}
