package local

import (
	"os/exec"
	"syscall"
)

// tie makes the process the leader of a group, and makes it die with this process however that ends.
func tie(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
