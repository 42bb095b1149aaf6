//go:build unix

package local

import (
	"os/exec"
	"syscall"
	"time"
)

// signal reaches the process and its children: each process leads a group of its own, so that Ctrl-C at the terminal
// reaches only who starts them, who then stops them in order.
func signal(cmd *exec.Cmd, s syscall.Signal) error { return syscall.Kill(-cmd.Process.Pid, s) }

func pause(cmd *exec.Cmd) error { return signal(cmd, syscall.SIGSTOP) }

func resume(cmd *exec.Cmd) error { return signal(cmd, syscall.SIGCONT) }

// reap ends what a process that has ended leaves of its group, and waits a little for it, so that its ports are free.
func reap(cmd *exec.Cmd) {
	for end := time.Now().Add(lastOfKind); time.Now().Before(end); {
		if signal(cmd, syscall.SIGKILL) != nil {
			return // nobody is left
		}
		<-time.After(5 * time.Millisecond)
	}
}
