//go:build !unix

package local

import (
	"errors"
	"os/exec"
	"syscall"
)

// Without Unix signals a process can only be killed.
func signal(cmd *exec.Cmd, _ syscall.Signal) error { return cmd.Process.Kill() }

func pause(*exec.Cmd) error { return errors.ErrUnsupported }

func resume(*exec.Cmd) error { return errors.ErrUnsupported }

func reap(*exec.Cmd) {}

func tie(*exec.Cmd) {}
