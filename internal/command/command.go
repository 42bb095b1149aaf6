// Package command says how the binary does something besides serving: each package below it is one command, which
// internal/app calls by its name. It owns no behaviour of its own.
package command

import "io"

// Call is one invocation of a command. A command reads nothing else of the process.
type Call struct {
	Args     []string // what follows the command's name
	Env      []string // as os.Environ gives it
	In       io.Reader
	Out, Err io.Writer
	Version  string // of the binary
}

// Exit codes of every command.
const (
	OK     = 0
	Failed = 1 // it ran, and the answer is no
	Usage  = 2 // it was called wrongly; nothing ran
)
