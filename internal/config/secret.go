package config

import (
	"fmt"
	"io"
	"log/slog"
)

const masked = "***"

// Secret is a string that no printer shows: every verb of fmt, slog, JSON, YAML and this package's own printers write
// *** for it, and "" for the empty one, so that one can see whether it is set. Only Reveal and a conversion to string
// give the text away. One hole remains: fmt cannot call methods on unexported fields, so a Secret in one is printed by
// %v of the struct around it; keep it in an exported field, as every Config does, and never print a whole service.
type Secret string

var (
	_ fmt.Formatter  = Secret("")
	_ slog.LogValuer = Secret("")
)

// Reveal returns the text itself, for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

// String returns ***, or "" for the empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// Format writes String's text whatever the verb is.
func (s Secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, s.String()) }

// LogValue returns String's text.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns String's text, which is how JSON and YAML show a secret. There is no way back from it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText sets s to text.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}
