package local

import (
	"slices"
	"strings"
)

// Command returns the command line of the process for a shell, without its environment.
func (p *Process) Command() string {
	p.mu.Lock()
	words := append([]string{p.path}, p.args...)
	p.mu.Unlock()
	for i, w := range words {
		plain := func(r rune) bool {
			return strings.ContainsRune("/._-=:,@", r) || r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z'
		}
		if w == "" || slices.ContainsFunc([]rune(w), func(r rune) bool { return !plain(r) }) {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
