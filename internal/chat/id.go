// Package chat holds the words of the domain: ids, conversations, limits. Everything in it is a pure function or a
// plain value; it does no I/O and knows no service. It keeps invariant 8 for ids: what does not match the rule is
// refused here, before it can become a subject, a key or a path.
package chat

import (
	"crypto/rand"
	"encoding/base32"

	"github.com/oceanchat/oceanchat/internal/fault"
)

// Ids are named strings, so that one cannot be passed for another.
type (
	// UserID names a user for ever; it is not the username.
	UserID string
	// GroupID names a group.
	GroupID string
	// DeviceID names an installation of a client; clients choose it.
	DeviceID string
	// SessionID names one log-in of one device.
	SessionID string
	// GatewayID names one run of one ws-gateway process; a restart makes a new one.
	GatewayID string
	// ConnectionID names one long connection, unique within its gateway.
	ConnectionID string
)

// MaxIDLen is the longest id of a user, group or device, in bytes.
const MaxIDLen = 64

const idRule = "1 to 64 of A-Z a-z 0-9 _ -"

// CheckID returns nil if s is a valid id, or INVALID_FIELD naming field.
func CheckID(field, s string) error {
	if !ValidID(s) {
		return fault.InvalidField(field, idRule)
	}
	return nil
}

// ValidID reports whether s matches [A-Za-z0-9_-]{1,64}. Client message ids follow the same rule.
func ValidID(s string) bool {
	if s == "" || len(s) > MaxIDLen {
		return false
	}
	for i := range len(s) {
		if !idByte(s[i]) {
			return false
		}
	}
	return true
}

func idByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// alphabet is base32hex in lower case: it sorts as the bytes it encodes.
var alphabet = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewID returns a fresh random id of 26 characters (128 bits).
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return alphabet.EncodeToString(b[:])
}
