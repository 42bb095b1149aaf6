package netdoor

import (
	"net/http"

	"github.com/oceanchat/oceanchat/internal/chat"
)

// HeaderRequest carries a request's id, both ways.
const HeaderRequest = "X-Request-Id"

// RequestID takes the caller's id when it is one, else a new one.
func RequestID(r *http.Request) string {
	if id := r.Header.Get(HeaderRequest); chat.ValidID(id) {
		return id
	}
	return chat.NewID()
}
