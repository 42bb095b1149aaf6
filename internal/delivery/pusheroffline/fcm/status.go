package fcm

import (
	"net/http"
	"strings"

	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendorapi"
)

const fcmError = "type.googleapis.com/google.firebase.fcm.v1.FcmError"

// answer is what messages:send returns: a name, or an error.
type answer struct {
	Name  string `json:"name"`
	Error struct {
		Status  string `json:"status"`
		Details []struct {
			Type            string `json:"@type"`
			ErrorCode       string `json:"errorCode"`
			FieldViolations []struct {
				Field string `json:"field"`
			} `json:"fieldViolations"`
		} `json:"details"`
	} `json:"error"`
}

// errorCode returns FCM's own code, or "".
func (a answer) errorCode() string {
	for _, d := range a.Error.Details {
		if d.Type == fcmError {
			return clean(d.ErrorCode)
		}
	}
	return ""
}

// code returns the most telling of the codes.
func (a answer) code() string {
	if c := a.errorCode(); c != "" {
		return c
	}
	return clean(a.Error.Status)
}

// blamesToken reports whether the field that broke a rule is the token.
func (a answer) blamesToken() bool {
	for _, d := range a.Error.Details {
		for _, v := range d.FieldViolations {
			if v.Field == "message.token" {
				return true
			}
		}
	}
	return false
}

// clean keeps what looks like a code; anything else could be text that a proxy echoes.
func clean(s string) string {
	upper := func(r rune) bool { return 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' }
	if len(s) > 64 || strings.ContainsFunc(s, func(r rune) bool { return !upper(r) }) {
		return ""
	}
	return s
}

func classify(status int, a answer) vendorapi.Class {
	switch a.errorCode() {
	case "UNREGISTERED", "SENDER_ID_MISMATCH":
		return vendorapi.TokenDead
	case "THIRD_PARTY_AUTH_ERROR":
		return vendorapi.Misconfigured
	case "QUOTA_EXCEEDED":
		return vendorapi.Throttled
	case "UNAVAILABLE", "INTERNAL":
		return vendorapi.Transient
	}
	switch {
	case status == http.StatusBadRequest && a.blamesToken():
		return vendorapi.TokenDead
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge:
		return vendorapi.Rejected
	case status == http.StatusUnauthorized:
		return vendorapi.AuthExpired
	case status == http.StatusTooManyRequests:
		return vendorapi.Throttled
	case status >= 500, status < 300: // a success that is not 200 is some proxy's
		return vendorapi.Transient
	}
	// 403 PERMISSION_DENIED, a 404 that is not UNREGISTERED (no such project), redirects.
	return vendorapi.Misconfigured
}
