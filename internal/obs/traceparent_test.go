package obs_test

import (
	"testing"

	"github.com/oceanchat/oceanchat/internal/obs"
)

func TestTraceParent(t *testing.T) {
	t.Parallel()
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	tests := []struct {
		name, parent, state   string
		wantParent, wantState string
	}{
		{"a span", parent, "", parent, ""},
		{"with a state", parent, "a=b,c=d", parent, "a=b,c=d"},
		{"not sampled", parent[:53] + "00", "", parent[:53] + "00", ""},
		{"a state that is none", parent, "=", parent, ""},
		{"none", "", "a=b", "", ""},
		{"too short", "00-4bf9-00f0-01", "", "", ""},
		{"no id", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, state := obs.TraceParent(obs.WithTraceParent(t.Context(), tt.parent, tt.state))
			if got != tt.wantParent || state != tt.wantState {
				t.Errorf("TraceParent(WithTraceParent(%q, %q)) = %q, %q; want %q, %q", tt.parent, tt.state, got, state, tt.wantParent, tt.wantState)
			}
		})
	}
}
