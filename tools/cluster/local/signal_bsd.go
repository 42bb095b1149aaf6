//go:build unix && !linux

package local

import (
	"os/exec"
	"syscall"
)

// tie makes the process the leader of a group. Only Linux can tie its life to ours.
func tie(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
