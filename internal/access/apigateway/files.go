package apigateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/gen/openapi"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

const (
	pathDocs    = "/docs"
	pathOpenAPI = "/openapi.json"
	pathKeys    = "/.well-known/jwks.json"
)

// cacheFor is for what changes with a release at most, and for keys.
const cacheFor = "public, max-age=300"

//go:embed page/page.html
var pageHTML string

//go:embed page/page.css
var pageCSS string

//go:embed page/page.js
var pageJS string

// newFiles returns the handlers of what stands outside of limits, by path.
func newFiles() map[string]http.HandlerFunc {
	page := strings.NewReplacer("{{style}}", pageCSS, "{{script}}", pageJS).Replace(pageHTML)
	docs := file("text/html; charset=utf-8", []byte(page))
	policy := pagePolicy()
	return map[string]http.HandlerFunc{
		pathOpenAPI: file(contentJSON, openapi.JSON),
		pathDocs: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", policy)
			w.Header().Set("Referrer-Policy", "no-referrer")
			docs(w, r)
		},
		"/": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, pathDocs, http.StatusFound) },
	}
}

// pagePolicy lets the page run its own script and style, read the contract from where it came from, and nothing else.
func pagePolicy() string {
	return "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
		"style-src '" + digest(pageCSS) + "'; script-src '" + digest(pageJS) + "'"
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// file returns a handler that serves data, or 304 to who has it.
func file(contentType string, data []byte) http.HandlerFunc {
	tag := `"` + digest(string(data)) + `"`
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Cache-Control", cacheFor)
		h.Set("ETag", tag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
}

// serveKeys answers with the public keys of access tokens.
func (s *Service) serveKeys(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(calls.WithRequestID(r.Context(), visitOf(r.Context()).id), s.cfg.RequestTimeout)
	defer cancel()
	resp, err := s.auth.GetKeys(ctx, &authv1.GetKeysRequest{})
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", contentJSON)
	w.Header().Set("Cache-Control", cacheFor)
	_, _ = w.Write(resp.GetJwks()) // the client's loss
}
