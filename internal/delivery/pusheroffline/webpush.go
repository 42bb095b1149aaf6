package pusheroffline

import (
	"crypto/ecdh"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
)

// subscription is a browser's PushSubscription, as its toJSON gives it; it is the token of webpush. Other members, such
// as expirationTime, pass.
type subscription struct {
	Endpoint string `json:"endpoint"`
	Keys     struct {
		P256dh string `json:"p256dh"` // the browser's public key, an uncompressed point of P-256
		Auth   string `json:"auth"`   // a secret of 16 bytes
	} `json:"keys"`
}

const (
	authSize         = 16
	subscriptionRule = "the JSON of a PushSubscription: endpoint, an https URL; keys.p256dh, a point of P-256, and keys.auth, 16 bytes, both in base64url"
)

// isSubscription reports whether token is a subscription that a push could be encrypted for. It does not say whether the
// endpoint is one to call: whoever sends must refuse hosts that are not push services, as the client chose it.
func isSubscription(token string) bool {
	var s subscription
	if err := json.Unmarshal([]byte(token), &s); err != nil {
		return false
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return false
	}
	auth, err := decodeKey(s.Keys.Auth)
	if err != nil || len(auth) != authSize {
		return false
	}
	key, err := decodeKey(s.Keys.P256dh)
	if err != nil {
		return false
	}
	_, err = ecdh.P256().NewPublicKey(key)
	return err == nil
}

// decodeKey reads base64url; browsers leave out the padding, some libraries do not.
func decodeKey(s string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
}
