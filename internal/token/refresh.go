package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// Refresh makes and checks refresh tokens, "<sessionId>.<generation>.<mac>". They are derived from a key, so the same
// pair can be given twice and none is stored. Whether a generation is the current one is auth's to know. It is safe
// for concurrent use.
type Refresh struct{ secret []byte }

// NewRefresh returns a Refresh with a key of KeySize secret random bytes.
func NewRefresh(secret []byte) (*Refresh, error) {
	if len(secret) != KeySize {
		return nil, fmt.Errorf("refresh key has %d bytes; want %d", len(secret), KeySize)
	}
	return &Refresh{append([]byte(nil), secret...)}, nil
}

// Token returns the refresh token of a session's generation, always the same one. s must be valid.
func (r *Refresh) Token(s chat.SessionID, generation uint64) string {
	body := string(s) + "." + strconv.FormatUint(generation, 10)
	return body + "." + base64.RawURLEncoding.EncodeToString(r.mac(body))
}

// Parse returns what a token of Token names. Anything else is TOKEN_INVALID, nothing TOKEN_MISSING.
func (r *Refresh) Parse(token string) (chat.SessionID, uint64, error) {
	if token == "" {
		return "", 0, fault.New(fault.TokenMissing, "a refresh token is needed")
	}
	i := strings.LastIndexByte(token, '.')
	if i < 0 || len(token) > maxLen {
		return "", 0, errInvalid()
	}
	body := token[:i]
	mac, err := base64.RawURLEncoding.Strict().DecodeString(token[i+1:])
	if err != nil || !hmac.Equal(mac, r.mac(body)) {
		return "", 0, errInvalid()
	}
	// From here the body is one that was made by Token; the checks guard against a key used for something else.
	id, number, _ := strings.Cut(body, ".")
	generation, err := strconv.ParseUint(number, 10, 64)
	if err != nil || !chat.ValidID(id) {
		return "", 0, errInvalid()
	}
	return chat.SessionID(id), generation, nil
}

// mac binds body to the key and to this use of it.
func (r *Refresh) mac(body string) []byte {
	h := hmac.New(sha256.New, r.secret)
	_, _ = h.Write([]byte("oceanchat refresh\n" + body)) // never fails
	return h.Sum(nil)
}

// String tells nothing.
func (r *Refresh) String() string { return "token.Refresh" }

// GoString is String, for %#v.
func (r *Refresh) GoString() string { return r.String() }

// LogValue is String, for slog.
func (r *Refresh) LogValue() slog.Value { return slog.StringValue(r.String()) }
