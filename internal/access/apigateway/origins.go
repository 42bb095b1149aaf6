package apigateway

import (
	"net/http"
	"strings"

	"github.com/oceanchat/oceanchat/internal/netdoor"
)

// anyOrigin in the list allows every page.
const anyOrigin = "*"

// origins says which web pages may use the door. As no cookie counts here, that protects users of a page, not the
// server: a browser hides the answers from other pages, and does not send the Authorization header for them.
type origins struct {
	listed map[string]bool // in lower case
	any    bool
}

func newOrigins(list []string) origins {
	o := origins{listed: map[string]bool{}}
	for _, s := range list {
		o.any = o.any || s == anyOrigin
		o.listed[strings.ToLower(strings.TrimSuffix(s, "/"))] = true
	}
	return o
}

// isPreflight reports whether a browser asks on behalf of a page what it may send.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// pass sets the headers for a page of a listed origin. It returns false for a preflight of a foreign page; its other
// requests are served without the headers, as those of clients that are no pages.
func (o origins) pass(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	if !o.any && !o.listed[strings.ToLower(origin)] {
		return !isPreflight(r) || netdoor.SameOrigin(r)
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
	if isPreflight(r) {
		h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-Id")
		h.Set("Access-Control-Max-Age", "600")
	}
	return true
}
