package backbone_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

func TestMatchTopic(t *testing.T) {
	t.Parallel()
	tests := []struct {
		filter, topic string
		want          bool
	}{
		{"", "a.b", true},
		{">", "a", true},
		{"a", "a", true},
		{"a", "b", false},
		{"a", "a.b", false},
		{"a.b", "a", false},
		{"a.*", "a.b", true},
		{"a.*", "a", false},
		{"a.*", "a.b.c", false},
		{"*.b", "a.b", true},
		{"a.>", "a.b.c", true},
		{"a.>", "a", false},
	}
	for _, tt := range tests {
		if got := backbone.MatchTopic(tt.filter, tt.topic); got != tt.want {
			t.Errorf("MatchTopic(%q, %q) = %t; want %t", tt.filter, tt.topic, got, tt.want)
		}
	}
}

func TestCheckTopic(t *testing.T) {
	t.Parallel()
	tests := []struct {
		topic      string
		plain, any bool // whether it is good as a topic, as a filter
	}{
		{"a", true, true},
		{"a.b-c.d_e", true, true},
		{"a.*.b", false, true},
		{"a.>", false, true},
		{">", false, true},
		{">.a", false, false},
		{"a.b*", false, false},
		{"", false, false},
		{"a..b", false, false},
		{".a", false, false},
		{"a b", false, false},
		{"a\n", false, false},
	}
	for _, tt := range tests {
		if got := backbone.CheckTopic(tt.topic, false) == nil; got != tt.plain {
			t.Errorf("CheckTopic(%q) good = %t; want %t", tt.topic, got, tt.plain)
		}
		if got := backbone.CheckTopic(tt.topic, true) == nil; got != tt.any {
			t.Errorf("CheckTopic(%q) good as a filter = %t; want %t", tt.topic, got, tt.any)
		}
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	oh := errors.New("oh")
	tests := []struct {
		name   string
		answer func() backbone.Verdict
		tries  int
		want   backbone.Action
	}{
		{"done", backbone.Done, 3, backbone.ActDone},
		{"park", func() backbone.Verdict { return backbone.Park(oh) }, 1, backbone.ActPark},
		{"retry", func() backbone.Verdict { return backbone.RetryAfter(time.Second, oh) }, 2, backbone.ActRetry},
		{"last retry", func() backbone.Verdict { return backbone.RetryAfter(time.Second, oh) }, 3, backbone.ActPark},
		{"no verdict", func() backbone.Verdict { return backbone.Verdict{} }, 1, backbone.ActRetry},
		{"last without a verdict", func() backbone.Verdict { return backbone.Verdict{} }, 3, backbone.ActPark},
		{"panic", func() backbone.Verdict { panic("oh") }, 1, backbone.ActRetry},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := backbone.Consumer{MaxTries: 3, Handle: func(context.Context, backbone.Task) backbone.Verdict { return tt.answer() }}
			if got := backbone.Judge(t.Context(), c, backbone.Task{Tries: tt.tries}); got.Act != tt.want {
				t.Errorf("Judge = %+v; want action %d", got, tt.want)
			}
		})
	}
}
