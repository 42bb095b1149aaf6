//go:build !unix

package callstest

import "time"

// cpuTime is not known here.
func cpuTime() time.Duration { return 0 }
