package apigateway

import "net/http"

// endSpan ends the span of a request with what the route was, and never the path, which holds what clients write.
func (v *visit) endSpan(method string, status int) {
	if !v.span.Recording() {
		return
	}
	v.span.Set("method", method)
	v.span.Set("route", v.route)
	v.span.Count("status", status)
	if status >= http.StatusInternalServerError {
		v.span.Fail(string(v.reason))
	}
	v.span.End()
}
