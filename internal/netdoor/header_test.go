package netdoor //nolint:testpackage // the parser is not exported

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

// FuzzHeader: no bytes break the parser, and it takes not one byte beyond the header, however they arrive.
func FuzzHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 1.1.1.1 127.0.0.1 80 8080\r\nGET /"))
	f.Add([]byte("PROXY TCP6 2001:db8::1 ::1 80 8080\r\n"))
	f.Add([]byte("PROXY UNKNOWN\r\n\x16\x03\x01"))
	f.Add([]byte("PROXY TCP4 1.1.1.1 127.0.0.1 80 80800000000000000000000000000000000000000000000000000000000000000000000000000000000000"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x01\x01\x01\x01\x7f\x00\x00\x01\x00\x50\x1f\x90rest"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		whole := bytes.NewReader(data)
		h, err := parseHeader(whole)
		if err != nil {
			return
		}
		pieces := bytes.NewReader(data)
		again, err := parseHeader(iotest.OneByteReader(pieces))
		if err != nil || !again.EqualsTo(h) || whole.Len() != pieces.Len() {
			t.Fatalf("in pieces %v, %v with %d bytes left; want %v with %d", again, err, pieces.Len(), h, whole.Len())
		}
		head := data[:len(data)-whole.Len()]
		if h.Version == 1 && (!bytes.HasSuffix(head, []byte("\r\n")) || bytes.Count(head, []byte("\n")) != 1) {
			t.Fatalf("header %q; want one line", head)
		}
		if rest, _ := io.ReadAll(whole); !bytes.HasSuffix(data, rest) || len(head) < 15 {
			t.Fatalf("%d bytes of header, then %q", len(head), rest)
		}
	})
}
