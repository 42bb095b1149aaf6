package message

import (
	"strings"
	"unicode"
)

// wordFilter replaces sensitive words by as many stars as they have code points, so offsets of mentions stay right.
type wordFilter struct {
	byFirst map[rune][][]rune // folded words by their first code point, longest first
}

func newWordFilter(words []string) *wordFilter {
	f := &wordFilter{byFirst: map[rune][][]rune{}}
	for _, w := range words {
		r := fold([]rune(strings.TrimSpace(w)))
		if len(r) == 0 {
			continue
		}
		list := f.byFirst[r[0]]
		i := 0
		for i < len(list) && len(list[i]) >= len(r) {
			i++
		}
		f.byFirst[r[0]] = append(list[:i:i], append([][]rune{r}, list[i:]...)...)
	}
	return f
}

func fold(rs []rune) []rune {
	out := make([]rune, len(rs))
	for i, r := range rs {
		out[i] = unicode.ToLower(r)
	}
	return out
}

// mask returns text without sensitive words. It takes O(text × words that begin alike).
func (f *wordFilter) mask(text string) string {
	if len(f.byFirst) == 0 {
		return text
	}
	rs := []rune(text)
	folded := fold(rs)
	changed := false
	for i := 0; i < len(rs); i++ {
		n := f.match(folded[i:])
		for k := i; k < i+n; k++ {
			rs[k] = '*'
		}
		if n > 0 {
			i += n - 1
			changed = true
		}
	}
	if !changed {
		return text
	}
	return string(rs)
}

// match returns the length of the longest word that rs begins with.
func (f *wordFilter) match(rs []rune) int {
	for _, w := range f.byFirst[rs[0]] {
		if len(w) <= len(rs) && string(w) == string(rs[:len(w)]) {
			return len(w)
		}
	}
	return 0
}
