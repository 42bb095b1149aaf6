package netdoor

import (
	"net/http"
	"strings"
)

// SameOrigin reports whether a browser says of r that it comes from a page of the host that it goes to. The scheme may
// differ: behind a proxy that ends TLS it does.
func SameOrigin(r *http.Request) bool {
	scheme, host, ok := strings.Cut(r.Header.Get("Origin"), "://")
	return ok && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")) && host != "" && strings.EqualFold(host, r.Host)
}
