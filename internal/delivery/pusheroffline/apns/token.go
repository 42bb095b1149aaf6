package apns

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	renewAfter = 45 * time.Minute // Apple refuses a token that is over an hour old
	minAge     = 20 * time.Minute // and refuses a sender that makes a new one sooner than that
)

type token struct {
	signed string
	iat    int64 // unix seconds by the wall clock, which goes on while a machine sleeps
}

// tokens keeps the one provider token of a key. Signing takes microseconds, so holding the lock meanwhile is the whole
// single flight.
type tokens struct {
	key       *ecdsa.PrivateKey
	kid, team string
	now       func() time.Time

	mu  sync.Mutex // guards cur
	cur token
}

func newTokens(pem []byte, kid, team string, now func() time.Time) (*tokens, error) {
	key, err := jwt.ParseECPrivateKeyFromPEM(pem)
	if err != nil || key.Curve != elliptic.P256() {
		return nil, errors.New("the key is no P-256 private key in PEM (.p8)") // err could show a part of it
	}
	return &tokens{key: key, kid: kid, team: team, now: now}, nil
}

// current returns the token to use now, renewed if it is 45 minutes old.
func (t *tokens) current() (token, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// A clock that was set back a little makes the token seem to come from the future, which Apple need not see.
	if age := t.age(); t.cur.signed != "" && age > -minAge && age < renewAfter {
		return t.cur, nil
	}
	return t.mint()
}

// renew returns a token other than refused, or how long to wait until Apple allows one to be made. Of many callers with
// the same refused token only the first makes a new one.
func (t *tokens) renew(refused token) (token, time.Duration, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cur != refused {
		return t.cur, 0, nil
	}
	if age := t.age(); age >= 0 && age < minAge {
		return token{}, minAge - age, nil
	}
	next, err := t.mint()
	return next, 0, err
}

func (t *tokens) age() time.Duration {
	return time.Duration(t.now().Unix()-t.cur.iat) * time.Second
}

func (t *tokens) mint() (token, error) {
	iat := t.now().Unix()
	j := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": t.team, "iat": iat})
	j.Header["kid"] = t.kid
	signed, err := j.SignedString(t.key)
	if err != nil {
		return token{}, fmt.Errorf("apns: sign provider token: %w", err)
	}
	t.cur = token{signed: signed, iat: iat}
	return t.cur, nil
}
