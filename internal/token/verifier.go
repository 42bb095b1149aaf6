package token

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/oceanchat/oceanchat/internal/fault"
)

// Bounds and defaults of a Verifier.
const (
	maxSkew      = 30 * time.Second
	fetchTimeout = 5 * time.Second
	failedEvery  = time.Second // least time between fetches after one that failed
)

// VerifierConfig tunes a Verifier. The zero value is usable.
type VerifierConfig struct {
	// Skew is how far clocks may be apart: a token counts that much longer, and may come from that far ahead. At most
	// 30 s, which more is cut to.
	Skew time.Duration
	// RefetchEvery is the least time between two fetches of the keys because of an unknown key id. Default 30 s.
	RefetchEvery time.Duration
	// CacheSize is how many checked tokens are remembered, about 300 bytes each; a signature costs some 50 µs, a token
	// that is remembered one. 0: none.
	CacheSize int
	// Now tells the time. Default time.Now.
	Now func() time.Time
}

// Verifier checks access tokens with the public keys of auth. It is safe for concurrent use.
type Verifier struct {
	cfg    VerifierConfig
	fetch  func(context.Context) ([]byte, error)
	parser *jwt.Parser

	fetching chan struct{} // holds a value while keys are fetched: one fetch at a time

	mu      sync.RWMutex // guards what follows
	keys    map[string]ed25519.PublicKey
	nextTry time.Time                        // no fetch before
	lastErr error                            // of the last fetch
	young   map[[sha256.Size]byte]remembered // checked tokens by hash, in two generations
	old     map[[sha256.Size]byte]remembered
}

type remembered struct {
	claims Claims
	key    string // its key id: what is remembered counts only while the key does
}

// NewVerifier returns a Verifier that gets the keys, a JSON Web Key Set, from fetch when it first needs them, and again
// when a token names one that it does not know.
func NewVerifier(fetch func(context.Context) ([]byte, error), cfg VerifierConfig) *Verifier {
	cfg.Skew = min(max(cfg.Skew, 0), maxSkew)
	if cfg.RefetchEvery <= 0 {
		cfg.RefetchEvery = 30 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Verifier{
		cfg: cfg, fetch: fetch, fetching: make(chan struct{}, 1),
		young: map[[sha256.Size]byte]remembered{},
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithStrictDecoding(),
			jwt.WithIssuer(issuer), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
			jwt.WithLeeway(cfg.Skew), jwt.WithTimeFunc(cfg.Now),
		),
	}
}

// Verify returns what token says if auth signed it and it has not expired: else TOKEN_MISSING for "", TOKEN_EXPIRED,
// or TOKEN_INVALID. When the keys cannot be had it is OVERLOADED: the token may well be good. It does not know whether
// the session is open.
func (v *Verifier) Verify(ctx context.Context, token string) (Claims, error) {
	if token == "" {
		return Claims{}, fault.New(fault.TokenMissing, "an access token is needed")
	}
	if len(token) > maxLen {
		return Claims{}, errInvalid()
	}
	var hash [sha256.Size]byte
	if v.cfg.CacheSize > 0 {
		hash = sha256.Sum256([]byte(token))
		if c, ok := v.recall(hash); ok {
			return v.unexpired(c)
		}
	}
	c, kid, err := v.check(ctx, token)
	if err != nil {
		return Claims{}, err
	}
	if v.cfg.CacheSize > 0 {
		v.remember(hash, remembered{c, kid})
	}
	return c, nil
}

// unexpired returns c, or TOKEN_EXPIRED.
func (v *Verifier) unexpired(c Claims) (Claims, error) {
	if !v.cfg.Now().Before(c.Expires.Add(v.cfg.Skew)) {
		return Claims{}, errExpired()
	}
	return c, nil
}

func errExpired() error {
	return fault.New(fault.TokenExpired, "the access token has expired; refresh it")
}

// check verifies the signature and returns the claims with the id of the key.
func (v *Verifier) check(ctx context.Context, token string) (Claims, string, error) {
	var p payload
	var kid string
	var unavailable error
	_, err := v.parser.ParseWithClaims(token, &p, func(t *jwt.Token) (any, error) {
		kid, _ = t.Header["kid"].(string)
		k, err := v.key(ctx, kid)
		if err != nil {
			unavailable = err
			return nil, err
		}
		return k, nil
	})
	switch {
	case unavailable != nil:
		return Claims{}, "", unavailable
	case onlyExpired(err):
		return Claims{}, "", errExpired()
	case err != nil:
		return Claims{}, "", errInvalid()
	}
	c, err := p.claims()
	if err != nil {
		return Claims{}, "", errInvalid()
	}
	return c, kid, nil
}

// onlyExpired reports whether time alone is what is wrong. The library checks the signature first and the claims
// only then, but reports all of them joined.
func onlyExpired(err error) bool {
	return errors.Is(err, jwt.ErrTokenExpired) &&
		!errors.Is(err, jwt.ErrTokenInvalidIssuer) && !errors.Is(err, jwt.ErrTokenUsedBeforeIssued)
}

// key returns the key named kid, TOKEN_INVALID if there is none, OVERLOADED if the keys cannot be had.
func (v *Verifier) key(ctx context.Context, kid string) (ed25519.PublicKey, error) {
	if kid == "" {
		return nil, errInvalid()
	}
	if k, done, err := v.known(kid); done {
		return k, err
	}
	select {
	case v.fetching <- struct{}{}:
		defer func() { <-v.fetching }()
	case <-ctx.Done():
		return nil, fault.Of(ctx.Err())
	}
	// Whoever held the place before may have fetched what is asked for, or what makes it too early to fetch again.
	if k, done, err := v.known(kid); done {
		return k, err
	}
	v.refetch(ctx)
	k, _, err := v.known(kid)
	return k, err
}

// known answers from what was fetched. done is false when it is time to fetch.
func (v *Verifier) known(kid string) (k ed25519.PublicKey, done bool, err error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if k, ok := v.keys[kid]; ok {
		return k, true, nil
	}
	done = v.cfg.Now().Before(v.nextTry)
	if v.keys == nil || v.lastErr != nil {
		return nil, done, fault.Wrap(v.lastErr, fault.Overloaded, "the keys of access tokens cannot be had now").After(failedEvery)
	}
	return nil, done, errInvalid()
}

// refetch gets the keys and says when to do so next. The caller holds the place in fetching.
func (v *Verifier) refetch(ctx context.Context) {
	short, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	keys, err := v.fetchKeys(short)
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.cfg.Now()
	switch {
	case err == nil:
		v.keys, v.lastErr, v.nextTry = keys, nil, now.Add(v.cfg.RefetchEvery)
	case ctx.Err() != nil: // the caller left: no verdict on the keys, the next one tries
		v.lastErr = err
	default:
		v.lastErr, v.nextTry = err, now.Add(failedEvery)
	}
}

func (v *Verifier) fetchKeys(ctx context.Context) (map[string]ed25519.PublicKey, error) {
	jwks, err := v.fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("fetch keys of access tokens: %w", err)
	}
	return parseKeys(jwks)
}

// recall returns what was remembered of a token whose key still counts.
func (v *Verifier) recall(hash [sha256.Size]byte) (Claims, bool) {
	v.mu.RLock()
	r, young := v.young[hash]
	if !young {
		r = v.old[hash]
	}
	_, ok := v.keys[r.key]
	v.mu.RUnlock()
	if ok && !young {
		v.remember(hash, r)
	}
	return r.claims, ok
}

// remember keeps a checked token. Half of CacheSize make a generation; a new one forgets the one before the last.
func (v *Verifier) remember(hash [sha256.Size]byte, r remembered) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.young) >= max(v.cfg.CacheSize/2, 1) {
		v.old, v.young = v.young, make(map[[sha256.Size]byte]remembered)
	}
	v.young[hash] = r
}
