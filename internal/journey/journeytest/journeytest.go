// Package journeytest is what tests of recorded journeys share.
package journeytest

import (
	"fmt"
	"slices"

	"github.com/oceanchat/oceanchat/internal/journey"
)

// Steps returns what is remembered of a message, sorted: "stage user/device via ×count (detail)". It is not nil.
func Steps(rec *journey.Recorder, message string) []string {
	out := []string{}
	events, _ := rec.Of(message)
	for _, e := range events {
		s := e.Stage.String()
		if e.User != "" {
			s += " " + e.User
		}
		if e.Device != "" {
			s += "/" + e.Device
		}
		if e.Via != "" {
			s += " " + e.Via
		}
		if e.Count > 0 {
			s += fmt.Sprintf(" ×%d", e.Count)
		}
		if e.Detail != "" {
			s += " (" + e.Detail + ")"
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}
