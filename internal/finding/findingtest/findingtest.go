// Package findingtest is what tests of diagnoses share.
package findingtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/internal/finding"
)

// Want fails the test unless a finding of that level and check says the text, with advice where it is not good.
func Want(t *testing.T, found []finding.Finding, level finding.Level, check, text string) {
	t.Helper()
	if !slices.ContainsFunc(found, func(f finding.Finding) bool {
		return f.Level == level && strings.HasPrefix(f.Check, check) && strings.Contains(f.Found, text) && (f.Do == "") == (level == finding.OK)
	}) {
		t.Errorf("no %s %q with %q in:\n%s", level, check, text, Lines(found))
	}
}

// Lines shows findings, one a line.
func Lines(found []finding.Finding) string {
	var b strings.Builder
	for _, f := range found {
		fmt.Fprintf(&b, "%s | %s | %s | %s\n", f.Level, f.Check, f.Found, f.Do)
	}
	return b.String()
}
