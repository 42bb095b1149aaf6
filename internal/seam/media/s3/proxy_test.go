package s3_test

import (
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/oceanchat/oceanchat/internal/seam/media/s3"
)

var errCut = errors.New("cut by the test")

// proxy stands between the client and the store and makes trouble.
type proxy struct {
	mu       sync.Mutex // guards below
	left     int        // requests to trouble; negative: all
	kind     trouble
	requests int
}

// trouble is done to one request. Each field is one kind of it.
type trouble struct {
	status   int    // is answered, after the body was read
	early    bool   // status is answered, before the body was read
	request  int64  // bytes of the request that come through, before the connection is cut
	answer   int64  // bytes of the answer's body that come through, before the connection is cut
	silent   bool   // there is never an answer
	unheeded bool   // the store does it, and the connection is cut before its answer
	date     string // of the answer
}

// set makes trouble to the next n requests, or all of them if n is negative.
func (p *proxy) set(n int, kind trouble) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.kind, p.requests = n, kind, 0
}

// seen returns how many requests came since set.
func (p *proxy) seen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

func (p *proxy) next() (trouble, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests++
	if p.left == 0 {
		return trouble{}, false
	}
	p.left--
	return p.kind, true
}

// between puts a proxy before the store of cfg and points cfg to it. With tls, cfg trusts the proxy's certificate.
func between(t *testing.T, cfg *s3.Config, tls bool) *proxy {
	t.Helper()
	to, err := url.Parse(cfg.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p, wire := &proxy{}, &http.Transport{}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(to, wire, w, r) })
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	if tls {
		srv.StartTLS()
		cfg.CA = filepath.Join(t.TempDir(), "ca.pem")
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
		if err := os.WriteFile(cfg.CA, text, 0o600); err != nil {
			t.Fatal(err)
		}
	} else {
		srv.Start()
	}
	cfg.Endpoint = srv.URL
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		wire.CloseIdleConnections()
	})
	return p
}

func (p *proxy) serve(to *url.URL, wire http.RoundTripper, w http.ResponseWriter, r *http.Request) {
	k, troubled := p.next()
	switch {
	case troubled && k.silent:
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		return
	case troubled && k.status != 0:
		if !k.early {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		w.WriteHeader(k.status)
		return
	}
	through := &httputil.ReverseProxy{
		Transport: wire, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	if troubled {
		through.ModifyResponse = func(a *http.Response) error {
			if k.unheeded {
				_ = a.Body.Close()
				return errCut
			}
			if k.date != "" {
				a.Header.Set("Date", k.date)
			}
			if k.answer > 0 {
				a.Body = cutAfter(a.Body, k.answer)
			}
			return nil
		}
		if k.request > 0 {
			r.Body = cutAfter(r.Body, k.request)
		}
	}
	through.ServeHTTP(w, r)
}

// cut gives n bytes and then breaks.
type cut struct {
	io.Reader
	io.Closer
}

func cutAfter(b io.ReadCloser, n int64) io.ReadCloser {
	return cut{io.MultiReader(io.LimitReader(b, n), broken{}), b}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errCut }
