//go:build !linux

package main

import (
	"os"
	"runtime"
	"time"
)

// syncFlag makes each write wait for the disk.
const syncFlag = os.O_SYNC

// nap sleeps for d as well as Go's timers can.
func nap(d time.Duration) { <-time.After(d) }

func filesystem(string) string { return "unknown" }

func processor() string { return runtime.GOOS + "/" + runtime.GOARCH }
