//go:build unix

package freeport

import (
	"os"
	"sync"
	"syscall"
)

var (
	mu   sync.Mutex // guards held
	held []*os.File // for the life of the process: the kernel unlocks them however it ends
)

// lock takes path for this process, if nobody has it.
func lock(path string) bool {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		_ = f.Close()
		return false
	}
	mu.Lock()
	defer mu.Unlock()
	held = append(held, f)
	return true
}
