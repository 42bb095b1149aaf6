package vendorapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	connectTimeout = 3 * time.Second
	maxAnswer      = 1 << 20
	maxRetryAfter  = 24 * time.Hour
)

// Options is what an adapter's New takes besides its Config. The zero value is right in production.
type Options struct {
	Client *http.Client     // instead of one that trusts ca_file; New copies it and turns redirects off
	Now    func() time.Time // instead of time.Now
	Key    []byte           // the credential itself, instead of reading the configured file
}

// NewClient returns o's client, or one that trusts the system's authorities and those of the PEM file caFile, if any.
// It follows no redirect, which could carry a credential elsewhere, and reads no proxy from the environment.
// With onlyHTTP2 it speaks nothing else, pings idle connections and opens no second connection when one is full.
func (o Options) NewClient(caFile string, onlyHTTP2 bool) (*http.Client, error) {
	var c http.Client
	if o.Client != nil {
		c = *o.Client
	} else {
		pool, err := authorities(caFile)
		if err != nil {
			return nil, err
		}
		c.Transport = newTransport(pool, onlyHTTP2)
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c, nil
}

func authorities(caFile string) (*x509.CertPool, error) {
	if caFile == "" {
		return nil, nil // the system's
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read ca_file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file %s holds no certificate", caFile)
	}
	return pool, nil
}

func newTransport(pool *x509.CertPool, onlyHTTP2 bool) *http.Transport {
	var p http.Protocols
	p.SetHTTP2(true)
	p.SetHTTP1(!onlyHTTP2)
	tr := &http.Transport{
		Protocols:           &p,
		DialContext:         (&net.Dialer{Timeout: connectTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool},
		TLSHandshakeTimeout: connectTimeout,
		IdleConnTimeout:     10 * time.Minute, // vendors take frequent reconnecting for an attack
		MaxIdleConnsPerHost: 64,
		HTTP2: &http.HTTP2Config{
			StrictMaxConcurrentRequests: onlyHTTP2,
			SendPingTimeout:             15 * time.Second,
			PingTimeout:                 5 * time.Second,
		},
	}
	if onlyHTTP2 {
		// Without a limit each of the first requests dials, nearly all in vain. Two leave room for a new connection
		// while an old one dies slowly.
		tr.MaxConnsPerHost = 2
	}
	return tr
}

// Clock returns o's clock.
func (o Options) Clock() func() time.Time {
	if o.Now == nil {
		return time.Now
	}
	return o.Now
}

// Secret returns o's key, else what the file holds, else ErrNotConfigured.
func (o Options) Secret(file string) ([]byte, error) {
	switch {
	case len(o.Key) > 0:
		return o.Key, nil
	case file == "":
		return nil, ErrNotConfigured
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read credential: %w", err)
	}
	return b, nil
}

// CheckEndpoint returns the base URL s without a slash at its end. It must be https, as it is sent credentials.
func CheckEndpoint(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return "", fmt.Errorf("endpoint %q is not of the form https://host[:port]", s)
	}
	return strings.TrimRight(s, "/"), nil
}

// Answer is a vendor's whole answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // at most 1 MiB
}

// Do sends r and reads the answer. Without one it returns false and a Transient outcome.
func Do(c *http.Client, r *http.Request) (Answer, Outcome, bool) {
	var connected atomic.Bool // the hook for the written request may come later than the error
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	a, err := exchange(c, r.WithContext(ctx))
	if err != nil {
		o := Failed(Transient, fmt.Errorf("no answer: %w", withoutURL(err)))
		o.MaybeSent = connected.Load()
		return Answer{}, o, false
	}
	return a, Outcome{}, true
}

func exchange(c *http.Client, r *http.Request) (Answer, error) {
	resp, err := c.Do(r)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return Answer{}, err
	}
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}

// withoutURL takes off the wrapping of net/http, whose text shows the path and so, with APNs, the token.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// RetryAfter returns how long the answer's Retry-After, seconds or a date, asks to wait from now: 0 if it does not say,
// never less than 0 nor more than a day.
func (a Answer) RetryAfter(now time.Time) time.Duration {
	h := a.Header.Get("Retry-After")
	var d time.Duration
	if s, err := strconv.ParseUint(h, 10, 31); err == nil {
		d = time.Duration(s) * time.Second
	} else if at, err := http.ParseTime(h); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// Each calls send for each item, with at most cap(slots) calls at a time among all that share slots, and returns the
// outcomes in order when all have ended. An item that got no slot before ctx ended is Transient.
func Each(ctx context.Context, slots chan struct{}, items []Item, send func(context.Context, Item) Outcome) []Outcome {
	out := make([]Outcome, len(items))
	var wg sync.WaitGroup
	for i, it := range items {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			out[i] = Failed(Transient, fmt.Errorf("not tried: %w", ctx.Err()))
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			out[i] = send(ctx, it)
		})
	}
	wg.Wait()
	return out
}
