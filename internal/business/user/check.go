package user

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// The limits of the contract: code points, except for the avatar's bytes.
const (
	maxNickname = 64
	maxAvatar   = 512
	maxBio      = 500
	maxRemark   = 64
	maxTags     = 20
	maxTag      = 32
	maxMessage  = 200
	maxQuery    = 64
)

// broken gathers every rule that a request breaks, so that one answer names them all.
type broken []fault.Field

func (b *broken) add(field, rule string) { *b = append(*b, fault.Field{Field: field, Rule: rule}) }

// err returns nil if no rule is broken.
func (b broken) err() error {
	if len(b) == 0 {
		return nil
	}
	return fault.InvalidFields(b...)
}

func (b *broken) id(field, s string) { b.fields(chat.CheckID(field, s)) }

// fields takes over the broken rules of an INVALID_FIELD; nil has none.
func (b *broken) fields(err error) {
	if f := fault.Of(err); f != nil {
		*b = append(*b, f.Fields...)
	}
}

// peer checks the userId of a request that concerns somebody else.
func (b *broken) peer(actor chat.UserID, id string) {
	b.id("userId", id)
	if id == string(actor) {
		b.add("userId", "not oneself")
	}
}

// text checks a text of several lines.
func (b *broken) text(field, s string, most int) {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > most {
		b.add(field, fmt.Sprintf("at most %d code points", most))
	}
}

// line checks a text of one line and returns it trimmed.
func (b *broken) line(field, s string, most int) string {
	s = strings.TrimSpace(s)
	b.text(field, s, most)
	if strings.ContainsFunc(s, unicode.IsControl) {
		b.add(field, "no control characters")
	}
	return s
}

// avatar allows what a client can show without danger: javascript: and data: URLs are refused.
func (b *broken) avatar(s string) {
	if s == "" || chat.ValidID(s) {
		return
	}
	u, err := url.Parse(s)
	if err != nil || len(s) > maxAvatar || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		b.add("avatar", fmt.Sprintf("an http or https URL or a media id, at most %d bytes", maxAvatar))
	}
}

// tags returns the tags trimmed and each once.
func (b *broken) tags(in []string) []string {
	var out []string
	seen := map[string]bool{}
	for i, t := range in {
		if i >= maxTags {
			b.add("tags", fmt.Sprintf("at most %d tags", maxTags))
			return nil
		}
		field := fmt.Sprintf("tags[%d]", i)
		if t = b.line(field, t, maxTag); t == "" {
			b.add(field, fmt.Sprintf("1 to %d code points", maxTag))
		}
		if !seen[t] {
			seen[t] = true
			out = append(out, t)
		}
	}
	return out
}
