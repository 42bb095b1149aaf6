package auth

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// The limits of the contract.
const (
	minUsername = 3
	maxUsername = 32
	minPassword = 8
	maxPassword = 128 // code points
	maxNickname = 64  // code points
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

func (b *broken) username(s string) {
	if !validUsername(s) {
		b.add("username", fmt.Sprintf("%d to %d of a-z 0-9 _ .", minUsername, maxUsername))
	}
}

func (b *broken) password(field, s string) {
	if !validPassword(s) {
		b.add(field, fmt.Sprintf("%d to %d code points", minPassword, maxPassword))
	}
}

func (b *broken) present(field, s string) {
	if s == "" {
		b.add(field, "not empty")
	}
}

// nickname returns s trimmed.
func (b *broken) nickname(s string) string {
	s = strings.TrimSpace(s)
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxNickname {
		b.add("nickname", fmt.Sprintf("at most %d code points", maxNickname))
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		b.add("nickname", "no control characters")
	}
	return s
}

func (b *broken) id(field, s string) { b.fields(chat.CheckID(field, s)) }

// fields takes over the broken rules of an INVALID_FIELD; nil has none.
func (b *broken) fields(err error) {
	if f := fault.Of(err); f != nil {
		*b = append(*b, f.Fields...)
	}
}

func (b *broken) platform(p authv1.Platform) {
	if _, ok := authv1.Platform_name[int32(p)]; !ok || p == authv1.Platform_PLATFORM_UNSPECIFIED {
		b.add("platform", "web, ios, android, harmony, desktop or bot")
	}
}

// page reads the paging fields of a request: how many, and after which cursor.
func (b *broken) page(size *int32, token string) (int, string) {
	n, err := chat.PageSize("pageSize", size)
	b.fields(err)
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		b.badToken()
	}
	return n, string(raw)
}

func (b *broken) badToken() { b.add("pageToken", "the nextPageToken of an earlier page of this list") }

func pageToken(cursor string) string { return base64.RawURLEncoding.EncodeToString([]byte(cursor)) }

// validUsername and validPassword tell whether an account can have s: what cannot be is not looked up and not hashed,
// and takes no place in the limits.
func validUsername(s string) bool {
	if len(s) < minUsername || len(s) > maxUsername {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func validPassword(s string) bool {
	n := utf8.RuneCountInString(s)
	return utf8.ValidString(s) && n >= minPassword && n <= maxPassword
}
