// Package token makes and checks the two tokens of a session: the access token, a JWT signed with Ed25519 that anyone
// checks with public keys, and the refresh token, which only auth can check. It owns their form. It never knows
// whether a session is open, never stores a token and never prints one, nor a key (invariant 9).
//
// It keeps this: only EdDSA is accepted, whatever a token says of itself; every check of a secret takes constant time;
// whatever cannot be read is TOKEN_INVALID without a hint why, so that errors teach an attacker nothing.
package token

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// issuer is who OceanChat's access tokens come from.
const issuer = "oceanchat"

// maxLen bounds what is looked at as a token; ours are below 700 bytes.
const maxLen = 2048

// KeySize is the length of a Signer's seed and of a Refresh's key, in bytes.
const KeySize = 32

// Claims is what an access token says.
type Claims struct {
	UserID    chat.UserID
	SessionID chat.SessionID
	DeviceID  chat.DeviceID
	Platform  authv1.Platform
	Issued    time.Time // whole seconds
	Expires   time.Time // whole seconds
}

// payload is Claims as they are written.
type payload struct {
	Issuer    string           `json:"iss"`
	UserID    chat.UserID      `json:"sub"`
	SessionID chat.SessionID   `json:"sid"`
	DeviceID  chat.DeviceID    `json:"did"`
	Platform  string           `json:"plt"`
	Issued    *jwt.NumericDate `json:"iat"`
	Expires   *jwt.NumericDate `json:"exp"`
}

// What the JWT library checks; it asks for these.
func (p payload) GetExpirationTime() (*jwt.NumericDate, error) { return p.Expires, nil }
func (p payload) GetIssuedAt() (*jwt.NumericDate, error)       { return p.Issued, nil }
func (p payload) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil } //nolint:nilnil // not used
func (p payload) GetIssuer() (string, error)                   { return p.Issuer, nil }
func (p payload) GetSubject() (string, error)                  { return string(p.UserID), nil }
func (p payload) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// claims returns what p says, or an error if a field is not as Sign writes it.
func (p payload) claims() (Claims, error) {
	if !chat.ValidID(string(p.UserID)) || !chat.ValidID(string(p.SessionID)) || !chat.ValidID(string(p.DeviceID)) {
		return Claims{}, errors.New("an id is not valid")
	}
	if p.Issued == nil || p.Expires == nil {
		return Claims{}, errors.New("a time is missing")
	}
	return Claims{
		UserID: p.UserID, SessionID: p.SessionID, DeviceID: p.DeviceID, Platform: platformOf(p.Platform),
		Issued: p.Issued.UTC(), Expires: p.Expires.UTC(),
	}, nil
}

const platformPrefix = "PLATFORM_"

// platformWord returns the word of the public contract, as "web".
func platformWord(p authv1.Platform) string {
	return strings.ToLower(strings.TrimPrefix(p.String(), platformPrefix))
}

// platformOf returns the platform of a word; a newer version's is unspecified.
func platformOf(word string) authv1.Platform {
	return authv1.Platform(authv1.Platform_value[platformPrefix+strings.ToUpper(word)])
}

// Signer makes access tokens. It is safe for concurrent use.
type Signer struct {
	private ed25519.PrivateKey
	kid     string
}

// NewSigner returns a Signer with the key that belongs to seed, KeySize secret random bytes.
func NewSigner(seed []byte) (*Signer, error) {
	if len(seed) != KeySize {
		return nil, fmt.Errorf("signing seed has %d bytes; want %d", len(seed), KeySize)
	}
	private := ed25519.NewKeyFromSeed(seed)
	return &Signer{private, thumbprint(publicOf(private))}, nil
}

func publicOf(k ed25519.PrivateKey) ed25519.PublicKey {
	return ed25519.PublicKey(k[ed25519.PrivateKeySize-ed25519.PublicKeySize:])
}

// Sign returns the access token that says c, with times cut to seconds. The same claims always give the same token.
// All ids must be valid.
func (s *Signer) Sign(c Claims) (string, error) {
	p := payload{
		issuer, c.UserID, c.SessionID, c.DeviceID, platformWord(c.Platform),
		jwt.NewNumericDate(c.Issued), jwt.NewNumericDate(c.Expires),
	}
	if _, err := p.claims(); err != nil {
		return "", fmt.Errorf("sign access token: %w", err)
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, p)
	t.Header["kid"] = s.kid
	signed, err := t.SignedString(s.private)
	if err != nil {
		return "", fmt.Errorf("sign access token: %w", err)
	}
	return signed, nil
}

// JWKS returns the public key as a JSON Web Key Set.
func (s *Signer) JWKS() []byte {
	set := keySet{Keys: []key{{
		Type: "OKP", Curve: "Ed25519", Use: "sig", Alg: "EdDSA", ID: s.kid,
		X: base64.RawURLEncoding.EncodeToString(publicOf(s.private)),
	}}}
	b, err := json.Marshal(set)
	if err != nil { // strings only: cannot fail
		return []byte(`{"keys":[]}`)
	}
	return b
}

// String names the key without telling it.
func (s *Signer) String() string { return "token.Signer(" + s.kid + ")" }

// GoString is String, for %#v.
func (s *Signer) GoString() string { return s.String() }

// LogValue is String, for slog.
func (s *Signer) LogValue() slog.Value { return slog.StringValue(s.String()) }

// keySet is a JSON Web Key Set (RFC 7517), key an Ed25519 key in it (RFC 8037).
type keySet struct {
	Keys []key `json:"keys"`
}

type key struct {
	Type  string `json:"kty"`
	Curve string `json:"crv"`
	X     string `json:"x"`
	Use   string `json:"use,omitempty"`
	Alg   string `json:"alg,omitempty"`
	ID    string `json:"kid"`
}

// thumbprint names a key by its content (RFC 7638).
func thumbprint(k ed25519.PublicKey) string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(k) + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// parseKeys returns the Ed25519 signing keys of a key set by id; others are passed over.
func parseKeys(jwks []byte) (map[string]ed25519.PublicKey, error) {
	var set keySet
	if err := json.Unmarshal(jwks, &set); err != nil {
		return nil, fmt.Errorf("parse key set: %w", err)
	}
	keys := make(map[string]ed25519.PublicKey, len(set.Keys))
	for _, k := range set.Keys {
		x, err := base64.RawURLEncoding.DecodeString(k.X)
		if err != nil || len(x) != ed25519.PublicKeySize || k.Type != "OKP" || k.Curve != "Ed25519" || k.ID == "" ||
			k.Use != "" && k.Use != "sig" || k.Alg != "" && k.Alg != "EdDSA" {
			continue
		}
		keys[k.ID] = ed25519.PublicKey(x)
	}
	return keys, nil
}

// errInvalid is the one answer to everything that is no token of ours.
func errInvalid() error { return fault.New(fault.TokenInvalid, "the token is not valid") }
