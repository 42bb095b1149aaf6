package bench

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAddMetrics(t *testing.T) {
	t.Parallel()
	const text = `# HELP a_total What a is.
# TYPE a_total counter
a_total{code="1 {x}"} 2
a_total{code="2"} 3.5
b 1e+06

`
	got := map[string]float64{"b": 1} // of another process
	if err := addMetrics(got, text); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]float64{"a_total": 5.5, "b": 1e6 + 1}, got); diff != "" {
		t.Errorf("addMetrics (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"a\n", "a many\n", "a{b=\"c\"}\n"} {
		if err := addMetrics(map[string]float64{}, bad); err == nil {
			t.Errorf("addMetrics(%q): no error", bad)
		}
	}
}

func TestWithoutSettings(t *testing.T) {
	t.Parallel()
	got := withoutSettings([]string{"PATH=/bin", "OCEANCHAT_LOG_SYNC=interval", "HOME=/"})
	if diff := cmp.Diff([]string{"PATH=/bin", "HOME=/"}, got); diff != "" {
		t.Errorf("withoutSettings (-want +got):\n%s", diff)
	}
}
