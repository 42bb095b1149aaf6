package bench

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// progress tells what goes on: on a terminal in one line that is written over, else, if asked for, line by line. The nil
// progress is silent.
type progress struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	open     int // length of the line that stands on the terminal
}

func newProgress(w io.Writer, asked bool) *progress {
	f, ok := w.(*os.File)
	terminal := false
	if ok {
		if info, err := f.Stat(); err == nil {
			terminal = info.Mode()&os.ModeCharDevice != 0
		}
	}
	if !terminal && !asked {
		return nil
	}
	return &progress{w: w, terminal: terminal}
}

// say tells one thing.
func (p *progress) say(format string, args ...any) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	line := fmt.Sprintf(format, args...)
	if !p.terminal {
		_, _ = fmt.Fprintln(p.w, line)
		return
	}
	_, _ = fmt.Fprintf(p.w, "\r%s%s", line, strings.Repeat(" ", max(0, p.open-len(line))))
	p.open = len(line)
}

// end leaves an empty line to whoever writes next.
func (p *progress) end() {
	if p == nil || !p.terminal {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", p.open))
	p.open = 0
}
