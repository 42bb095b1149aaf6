//go:build !linux

package bench

import (
	"os"
	"os/exec"
	"runtime"
	"time"
)

// syncFlag makes each write wait for the disk.
const syncFlag = os.O_SYNC

// nap sleeps for d as well as Go's timers can.
func nap(d time.Duration) { <-time.After(d) }

func filesystem(string) string { return "unknown" }

func processor() string { return runtime.GOOS + "/" + runtime.GOARCH }

// tie does nothing here: a server outlives a bench that is killed.
func tie(*exec.Cmd) {}

// checkFiles leaves it to the first socket too many.
func checkFiles(int) error { return nil }
