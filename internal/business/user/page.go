package user

import (
	"encoding/base64"
	"strings"

	"github.com/oceanchat/oceanchat/internal/chat"
)

// maxToken is longer than any token that was given out.
const maxToken = 512

// page is which part of a list is asked for.
type page struct {
	list  string // names the list: a token of one is broken for another
	size  int
	after string // the list's own cursor, "" for the start
}

// page reads the paging fields of a request.
func (b *broken) page(list string, size *int32, token string) page {
	p := page{list: list}
	var err error
	p.size, err = chat.PageSize("pageSize", size)
	b.fields(err)
	if token == "" {
		return p
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	after, ok := strings.CutPrefix(string(raw), list+".")
	if err != nil || !ok || after == "" || len(token) > maxToken {
		b.badToken()
		return p
	}
	p.after = after
	return p
}

func (b *broken) badToken() { b.add("pageToken", "the nextPageToken of an earlier page of this list") }

// next returns the token for what follows a cursor; "" means the end.
func (p page) next(cursor string) string {
	if cursor == "" {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString([]byte(p.list + "." + cursor))
}
