package chat

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/term"
)

// maxLine bounds a line of the input: 5,000 code points and what a command needs.
const maxLine = 32 << 10

// screen is where lines come from and go to. print may be called by anyone at any time.
type screen interface {
	// line returns the next line; io.EOF at the end.
	line() (string, error)
	print(line string)
	prompt(of string)
	// password asks without an echo. Where nobody can be asked it is an error.
	password(question string) (string, error)
	// echoes reports whether what is typed stays to be seen.
	echoes() bool
	close()
}

// newScreen returns a terminal's screen if in and out are one, else plain lines.
func newScreen(in io.Reader, out io.Writer) (screen, error) {
	from, isFile := in.(*os.File)
	to, toFile := out.(*os.File)
	if !isFile || !toFile || !term.IsTerminal(int(from.Fd())) || !term.IsTerminal(int(to.Fd())) {
		s := bufio.NewScanner(in)
		s.Buffer(make([]byte, 0, 4096), maxLine)
		return &pipe{in: s, out: out}, nil
	}
	before, err := term.MakeRaw(int(from.Fd()))
	if err != nil {
		return nil, fmt.Errorf("set up the terminal: %w", err)
	}
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{from, to}, "> ")
	return &terminal{t, from, to, before}, nil
}

// terminal edits the line at the bottom and prints above it.
type terminal struct {
	*term.Terminal
	in, out *os.File
	before  *term.State
}

func (s *terminal) line() (string, error) {
	if w, h, err := term.GetSize(int(s.out.Fd())); err == nil && w > 0 {
		_ = s.SetSize(w, h)
	}
	return s.ReadLine()
}

func (s *terminal) print(line string) { _, _ = io.WriteString(s, line+"\n") }
func (s *terminal) prompt(of string)  { s.SetPrompt(of + "> ") }
func (s *terminal) echoes() bool      { return true }

// close leaves the prompt's line and gives the terminal back as it was.
func (s *terminal) close() {
	_, _ = io.WriteString(s.out, "\r\n")
	_ = term.Restore(int(s.in.Fd()), s.before)
}

func (s *terminal) password(question string) (string, error) {
	p, err := s.ReadPassword(question)
	if errors.Is(err, io.EOF) {
		err = errors.New("no password was given")
	}
	return p, err
}

// pipe is lines in and lines out.
type pipe struct {
	in  *bufio.Scanner
	mu  sync.Mutex // guards out
	out io.Writer
}

func (s *pipe) line() (string, error) {
	if s.in.Scan() {
		return s.in.Text(), nil
	}
	if err := s.in.Err(); err != nil {
		return "", fmt.Errorf("read the input: %w", err)
	}
	return "", io.EOF
}

func (s *pipe) print(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintln(s.out, line)
}

func (s *pipe) prompt(string) {}
func (s *pipe) echoes() bool  { return false }
func (s *pipe) close()        {}

func (s *pipe) password(string) (string, error) {
	return "", fmt.Errorf("%w: without a terminal the password must stand in %s", errUsage, passwordVar)
}

// plain returns text that commands no terminal: control characters and those that turn the direction of writing become
// U+FFFD, and each further line stands behind a bar, so that no text looks like a line of ours.
func plain(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\r\n", "\n")
	var out strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || r == '\u2028' || r == '\u2029' || r == '\u0085':
			out.WriteString("\n      | ")
		case r == '\t':
			out.WriteByte(' ')
		case unicode.IsControl(r) || turns(r):
			out.WriteRune('\uFFFD')
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// name is plain for what must stay on its line.
func name(text string) string { return strings.ReplaceAll(plain(text), "\n      | ", " ") }

// turns reports whether r changes the direction of what follows.
func turns(r rune) bool {
	return r >= '\u202A' && r <= '\u202E' || r >= '\u2066' && r <= '\u2069' || r == '\u200E' || r == '\u200F' || r == '\u061C'
}
