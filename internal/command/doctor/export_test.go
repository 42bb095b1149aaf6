package doctor

import (
	"context"
	"time"

	"github.com/oceanchat/oceanchat/internal/finding"
)

// Run runs one check as the command does.
func Run(ctx context.Context, limit time.Duration, f func(context.Context) []finding.Finding) []finding.Finding {
	return run(ctx, []check{{"hanging", limit, f}})
}

// Limits judges what the system allows.
func Limits(connections int) []finding.Finding { return limits(connections) }

// Speed judges how long writes took.
func Speed(e Embedded, took ...time.Duration) finding.Finding { return e.speed(took) }
