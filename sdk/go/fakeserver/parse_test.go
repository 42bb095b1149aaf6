package fakeserver_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/sdk/go/fakeserver"
)

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, script string
		want         []fakeserver.Rule
		wrong        string // part of the error
	}{
		{"nothing", "\n  # a comment\n", nil, ""},
		{"lost acknowledgement", "lose ack", []fakeserver.Rule{{At: "reply", Method: "message.send", Do: "drop"}}, ""},
		{"delay", "delay push entry by=300ms times=4 skip=1 # late", []fakeserver.Rule{{At: "push", Method: "entry", Do: "delay", DelayMs: 300, Times: 4, Skip: 1}}, ""},
		{"duplicate", "duplicate push times=-1", []fakeserver.Rule{{At: "push", Do: "duplicate", Times: -1}}, ""},
		{"reorder", "reorder push entry", []fakeserver.Rule{{At: "push", Method: "entry", Do: "hold"}}, ""},
		{"cut", "cut request connect\ncutmid push", []fakeserver.Rule{{At: "request", Method: "connect", Do: "cut"}, {At: "push", Do: "cutMid"}}, ""},
		{"close", "close 4006 push entry retryAfter=2s silent", []fakeserver.Rule{{At: "push", Method: "entry", Do: "close", Code: 4006, RetryAfterMs: 2000, Silent: true}}, ""},
		{"fail", "fail request message.send UNAVAILABLE/OVERLOADED", []fakeserver.Rule{{At: "request", Method: "message.send", Do: "fail", ErrorCode: "UNAVAILABLE", Reason: "OVERLOADED"}}, ""},
		{"places", "lose dial\nfail handshake retryAfter=2s", []fakeserver.Rule{{At: "dial", Do: "drop"}, {At: "handshake", Do: "fail", RetryAfterMs: 2000}}, ""},
		{"no action", "\nexplode push", nil, `line 2: unknown action "explode"`},
		{"no place", "lose", nil, "say where"},
		{"no code", "close push", nil, "needs a code"},
		{"no reason", "fail request connect", nil, "needs CODE/REASON"},
		{"no such option", "lose push often=3", nil, "unknown option often=3"},
		{"a word too many", "lose push entry twice", nil, `unknown word "twice"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := fakeserver.Parse(tt.script)
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("Parse(%q) = %v; want %q", tt.script, err, tt.wrong)
				}
				return
			}
			if d := cmp.Diff(tt.want, got); d != "" || err != nil {
				t.Errorf("Parse(%q) = %v (-want +got):\n%s", tt.script, err, d)
			}
		})
	}
}
