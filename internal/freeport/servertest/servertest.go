// Package servertest is what tests share that start the program of a server, such as Redis.
package servertest

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// Server is a program that runs beside a test. The zero value is one that does not run.
type Server struct {
	Cmd *exec.Cmd // nil while it does not run

	out bytes.Buffer
	// guard ends the server when this process ends in any other way than by Kill: it waits for its input to close.
	guard *exec.Cmd
}

// Run starts cmd and waits until ready has no error. It may be called again after Kill.
func (s *Server) Run(cmd *exec.Cmd, ready func() error) error {
	s.out.Reset()
	cmd.Stdout, cmd.Stderr = &s.out, &s.out
	if err := cmd.Start(); err != nil {
		return err
	}
	s.Cmd = cmd
	s.guard = exec.Command("sh", "-c", `read x; kill -9 "$0"`, strconv.Itoa(cmd.Process.Pid))
	if _, err := s.guard.StdinPipe(); err != nil {
		return err
	}
	if err := s.guard.Start(); err != nil {
		s.guard = nil // no shell, no guard
	}
	if err := Poll(ready); err != nil {
		s.Kill()
		return fmt.Errorf("%s does not answer: %w: %s", filepath.Base(cmd.Path), err, s.out.String())
	}
	return nil
}

// Kill ends the server at once, if it runs.
func (s *Server) Kill() {
	if s == nil || s.Cmd == nil {
		return
	}
	if s.guard != nil {
		_ = s.guard.Process.Kill()
		_ = s.guard.Wait()
	}
	_ = s.Cmd.Process.Kill()
	_ = s.Cmd.Wait()
	s.Cmd = nil
}

// Poll repeats f until it succeeds, for 20 s at most, and returns its last error.
func Poll(f func() error) error {
	end := time.Now().Add(20 * time.Second)
	for {
		err := f()
		if err == nil || time.Now().After(end) {
			return err
		}
		<-time.After(20 * time.Millisecond)
	}
}
