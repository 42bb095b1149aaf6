package fcm

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"

	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendorapi"
)

const (
	scope       = "https://www.googleapis.com/auth/firebase.messaging"
	renewBefore = 5 * time.Minute
	shareError  = time.Second // how long a failed fetch answers for the callers that waited for it
)

// errRefused means that the token endpoint will not take our service account.
var errRefused = errors.New("fcm: service account is refused by the token endpoint")

// account is what we need of a service account's JSON.
type account struct {
	Type        string `json:"type"`
	ProjectID   string `json:"project_id"`
	KeyID       string `json:"private_key_id"`
	Key         string `json:"private_key"`
	ClientEmail string `json:"client_email"`
	TokenURI    string `json:"token_uri"`
}

// parseAccount checks everything now that would otherwise fail at the first notification. No error shows a value but
// the type and the address.
func parseAccount(raw []byte) (account, error) {
	var a account
	if err := json.Unmarshal(raw, &a); err != nil {
		return a, errors.New("the service account is not JSON")
	}
	if a.Type != "service_account" {
		return a, fmt.Errorf("the service account has type %q; want service_account", a.Type)
	}
	if a.ProjectID == "" || a.ClientEmail == "" {
		return a, errors.New("the service account has no project_id or no client_email")
	}
	if _, err := vendorapi.CheckEndpoint(a.TokenURI); err != nil {
		return a, fmt.Errorf("token_uri of the service account: %w", err)
	}
	block, _ := pem.Decode([]byte(a.Key))
	if block == nil || !isRSA(block.Bytes) {
		return a, errors.New("the private_key of the service account is no RSA key in PEM")
	}
	return a, nil
}

func isRSA(der []byte) bool {
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		_, ok := k.(*rsa.PrivateKey)
		return ok
	}
	_, err := x509.ParsePKCS1PrivateKey(der)
	return err == nil
}

// bearers keeps the one bearer of a service account. A channel serves as the lock, so that a waiting caller can leave
// when its context ends.
type bearers struct {
	conf    *jwt.Config
	client  *http.Client
	now     func() time.Time
	timeout time.Duration // of one fetch; less than callers wait, so that one failure answers all of them

	lock     chan struct{} // holds one value while somebody reads or changes the fields below
	cur      string
	renewAt  time.Time
	endsAt   time.Time
	err      error // of the last fetch, good until errUntil
	errUntil time.Time
}

func newBearers(a account, c *http.Client, now func() time.Time, timeout time.Duration) *bearers {
	return &bearers{
		conf: &jwt.Config{
			Email: a.ClientEmail, PrivateKey: []byte(a.Key), PrivateKeyID: a.KeyID,
			Scopes: []string{scope}, TokenURL: a.TokenURI,
		},
		client: c, now: now, timeout: timeout, lock: make(chan struct{}, 1),
	}
}

// get returns a bearer other than refused. It fetches one if there is none, or if the present one is refused or ends
// within five minutes; in the last case a failed fetch leaves the present one in use.
func (b *bearers) get(ctx context.Context, refused string) (string, error) {
	select {
	case b.lock <- struct{}{}:
		defer func() { <-b.lock }()
	case <-ctx.Done():
		return "", fmt.Errorf("fcm: wait for a bearer: %w", ctx.Err())
	}
	if refused != "" && b.cur == refused {
		b.cur = ""
	}
	now := b.now()
	if b.cur != "" && now.Before(b.renewAt) {
		return b.cur, nil
	}
	err := b.err
	if err == nil || !now.Before(b.errUntil) {
		err = b.fetch(ctx)
	}
	if err != nil && (b.cur == "" || !now.Before(b.endsAt)) {
		return "", err
	}
	return b.cur, nil
}

// fetch buys a bearer. Its error never holds the endpoint's answer, which is not ours to log.
func (b *bearers) fetch(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	c := *b.client
	c.Transport = withContext{short, b.client.Transport}
	tok, err := b.conf.TokenSource(context.WithValue(short, oauth2.HTTPClient, &c)).Token()
	now := b.now()
	if err == nil && tok.AccessToken == "" {
		err = errors.New("answer holds no access_token")
	}
	if err != nil {
		err = cause(err)
		if ctx.Err() == nil { // a caller that left says nothing about the endpoint
			b.err, b.errUntil = err, now.Add(shareError)
		}
		return err
	}
	life := time.Hour
	if !tok.Expiry.IsZero() {
		life = time.Until(tok.Expiry) // the library reckons with the machine's clock, we with ours
	}
	b.cur, b.err = tok.AccessToken, nil
	b.endsAt = now.Add(life)
	b.renewAt = b.endsAt.Add(-min(renewBefore, life/5))
	return nil
}

// withContext gives requests a context: oauth2/jwt makes its own without one, and a silent endpoint would hold the lock
// for ever.
type withContext struct {
	ctx  context.Context //nolint:containedctx // lives as long as one fetch
	next http.RoundTripper
}

func (w withContext) RoundTrip(r *http.Request) (*http.Response, error) {
	next := w.next
	if next == nil {
		next = http.DefaultTransport
	}
	return next.RoundTrip(r.WithContext(w.ctx))
}

func cause(err error) error {
	re, ok := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case !ok:
		return fmt.Errorf("fcm: fetch a bearer: %w", err)
	case re.Response.StatusCode == http.StatusTooManyRequests, re.Response.StatusCode >= 500:
		return fmt.Errorf("fcm: fetch a bearer: token endpoint answered %d", re.Response.StatusCode)
	}
	return fmt.Errorf("%w: %d", errRefused, re.Response.StatusCode)
}
