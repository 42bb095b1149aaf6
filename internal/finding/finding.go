// Package finding is the words of a diagnosis: what somebody looked at, what was found there and what to do about it.
// Those who look are the implementations of the seams; the command doctor shows it. It owns the rules that all of them
// share (clocks, certificates), looks at nothing by itself and never holds a secret: what is found is for the screen.
package finding

import (
	"fmt"
	"strings"
	"time"
)

// Level says how bad it is.
type Level string

// The levels. Only Problem makes the diagnosis fail.
const (
	OK      Level = "ok"
	Warning Level = "warning" // it works, and one day it may not
	Problem Level = "problem" // it does not work, or acknowledged messages can be lost
)

// Finding is one line of a diagnosis. Do is empty where nothing is to be done.
type Finding struct {
	Level Level  `json:"level"`
	Check string `json:"check"` // what was looked at, such as "redis 10.0.0.7:6379: memory"
	Found string `json:"found"`
	Do    string `json:"do,omitempty"`
}

// Good is a finding of level OK.
func Good(check, format string, args ...any) Finding {
	return Finding{Level: OK, Check: check, Found: fmt.Sprintf(format, args...)}
}

// Warn is a finding of level Warning.
func Warn(check, found, do string) Finding {
	return Finding{Level: Warning, Check: check, Found: found, Do: do}
}

// Bad is a finding of level Problem.
func Bad(check, found, do string) Finding {
	return Finding{Level: Problem, Check: check, Found: found, Do: do}
}

// maxText bounds what is told of a foreign error, in bytes. Drivers describe whole clusters in one.
const maxText = 300

// Text is an error as part of a line: without line ends, and not longer than 300 bytes.
func Text(err error) string {
	if err == nil {
		return ""
	}
	text := strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ") // errors.Join puts each on a line of its own
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + " …"
	}
	return text
}

// maxSkew is how far clocks may be apart: beyond it tokens end early and people see wrong times.
const maxSkew = 500 * time.Millisecond

// Clock judges a clock that is ahead of ours, as far as it is known: give or take within, half a round trip.
func Clock(check string, ahead, within time.Duration) Finding {
	off, way := ahead.Abs(), "ahead of"
	if ahead < 0 {
		way = "behind"
	}
	found := fmt.Sprintf("%s %s this machine's, give or take %s", Round(off), way, Round(within))
	if off-within > maxSkew {
		return Warn(check, found, "let NTP or chrony set the clocks of all machines; tokens and the times of messages depend on them")
	}
	return Good(check, "%s", found)
}

// soon is how long before its end a certificate is warned of.
const soon = 14 * 24 * time.Hour

// Expiry judges when a certificate ends.
func Expiry(check string, from, to, now time.Time) Finding {
	day := to.UTC().Format(time.DateOnly)
	switch {
	case now.After(to):
		return Bad(check, "the certificate expired on "+day, "renew it; nobody can connect who checks it")
	case now.Before(from):
		return Bad(check, "the certificate is valid only from "+from.UTC().Format(time.RFC3339), "check the clock of this machine, or wait")
	case to.Sub(now) < soon:
		return Warn(check, "the certificate expires on "+day, "renew it now")
	}
	return Good(check, "the certificate is valid until %s", day)
}

// Round makes a time short enough to be read.
func Round(d time.Duration) time.Duration {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second)
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(10 * time.Microsecond)
}

// Bytes writes a size with the unit that fits.
func Bytes(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d bytes", n)
	}
	f, units := float64(n), []string{"KiB", "MiB", "GiB", "TiB"}
	u := -1
	for f >= unit && u < len(units)-1 {
		f, u = f/unit, u+1
	}
	return strings.Replace(fmt.Sprintf("%.1f %s", f, units[u]), ".0 ", " ", 1)
}
