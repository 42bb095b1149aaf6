package vendorapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"unicode/utf8"
)

const ellipsis = "…"

// Redact returns the last six characters of a token, and of a short one nothing.
func Redact(token string) string {
	if len(token) <= 12 {
		return ellipsis
	}
	return ellipsis + token[len(token)-6:]
}

// Shorten returns s if it has at most limit bytes, else the longest whole characters of it that fit with an ellipsis.
func Shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	end := limit - len(ellipsis)
	if end < 0 {
		return ""
	}
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}

// Fit returns encode(body) with the longest shortened body that makes at most limit bytes. As escapes make JSON longer
// than the text, it searches: about twelve calls for a body that is too long, one for any other.
func Fit(limit int, body string, encode func(body string) ([]byte, error)) ([]byte, error) {
	whole, err := encode(body)
	if err != nil || len(whole) <= limit {
		return whole, err
	}
	most := min(len(body), limit)
	cut := sort.Search(most, func(n int) bool { // the first n that is too long
		b, err := encode(Shorten(body, n))
		return err != nil || len(b) > limit
	})
	if cut == 0 {
		return nil, fmt.Errorf("payload has %d bytes; the most is %d, and without its text it does not fit", len(whole), limit)
	}
	return encode(Shorten(body, cut-1))
}

// JSON encodes v as compact JSON without escaping HTML, which would only cost payload bytes.
func JSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
