//go:build unix

package doctor

import "syscall"

// openFiles returns how many files this process may have open. Go has raised it to the hard limit, as it does in a server.
func openFiles() (uint64, bool) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, false
	}
	return uint64(l.Cur), true // some systems have a signed one
}
