// Package mediatest is the conformance suite of the media seam.
package mediatest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/media"
)

// TestBlobs runs every rule of media.Blobs against fresh stores from open, which registers its own clean-up on t.
func TestBlobs(t *testing.T, open func(t *testing.T) media.Blobs) {
	tests := []struct {
		name string
		run  func(*testing.T, media.Blobs)
	}{
		{"put, open, seek", testPut},
		{"an empty blob", testEmpty},
		{"what is not there", testMissing},
		{"delete", testDelete},
		{"replace under a reader", testReplace},
		{"a failed put leaves what was", testFailed},
		{"ids are checked", testIDs},
		{"racing puts leave one whole blob", testRace},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
	}
}

func put(t *testing.T, b media.Blobs, id, content string) {
	t.Helper()
	if err := b.Put(t.Context(), id, strings.NewReader(content), int64(len(content))); err != nil {
		t.Fatalf("Put(%s) = %v; want no error", id, err)
	}
}

func get(t *testing.T, b media.Blobs, id string) string {
	t.Helper()
	r, info, err := b.Open(t.Context(), id)
	if err != nil {
		t.Fatalf("Open(%s) = %v; want no error", id, err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil || info.Size != int64(len(content)) || info.Created.IsZero() {
		t.Errorf("Open(%s) = %d bytes, %+v, %v; want size and time to be right", id, len(content), info, err)
	}
	return string(content)
}

func testPut(t *testing.T, b media.Blobs) {
	content := strings.Repeat("0123456789", 100_000)
	put(t, b, "m1", content)
	if got := get(t, b, "m1"); got != content {
		t.Errorf("read %d bytes; want the %d that were put", len(got), len(content))
	}
	r, _, err := b.Open(t.Context(), "m1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	part := make([]byte, 3)
	if _, err := r.Seek(-3, io.SeekEnd); err != nil {
		t.Fatalf("Seek = %v; want no error", err)
	}
	if _, err := io.ReadFull(r, part); err != nil || string(part) != "789" {
		t.Errorf("the last three bytes = %q, %v; want 789", part, err)
	}
}

func testEmpty(t *testing.T, b media.Blobs) {
	put(t, b, "m1", "")
	if got := get(t, b, "m1"); got != "" {
		t.Errorf("read %q; want nothing", got)
	}
}

func testMissing(t *testing.T, b media.Blobs) {
	if _, _, err := b.Open(t.Context(), "m1"); !fault.IsReason(err, fault.NotFoundReason) {
		t.Errorf("Open = %v; want %s", err, fault.NotFoundReason)
	}
}

func testDelete(t *testing.T, b media.Blobs) {
	put(t, b, "m1", "x")
	for range 2 {
		if err := b.Delete(t.Context(), "m1"); err != nil {
			t.Errorf("Delete = %v; want no error, also the second time", err)
		}
	}
	testMissing(t, b)
}

func testReplace(t *testing.T, b media.Blobs) {
	put(t, b, "m1", "old")
	r, _, err := b.Open(t.Context(), "m1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	put(t, b, "m1", "newer")
	if got, err := io.ReadAll(r); err != nil || string(got) != "old" {
		t.Errorf("the open reader = %q, %v; want old", got, err)
	}
	if got := get(t, b, "m1"); got != "newer" {
		t.Errorf("read %q; want newer", got)
	}
}

func testFailed(t *testing.T, b media.Blobs) {
	put(t, b, "m1", "old")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	broken := errors.New("the client hung up")
	tests := []struct {
		name   string
		ctx    context.Context
		r      io.Reader
		size   int64
		reason fault.Reason // "": any error
	}{
		{"too short", t.Context(), strings.NewReader("ab"), 3, fault.InvalidFieldReason},
		{"too long", t.Context(), strings.NewReader("abcd"), 3, fault.InvalidFieldReason},
		{"a negative size", t.Context(), strings.NewReader("abcd"), -1, fault.InvalidFieldReason},
		{"the source breaks", t.Context(), iotest.ErrReader(broken), 3, ""},
		{"the caller leaves", ended, strings.NewReader("abc"), 3, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := b.Put(tt.ctx, "m1", tt.r, tt.size)
			if err == nil || tt.reason != "" && !fault.IsReason(err, tt.reason) {
				t.Errorf("Put = %v; want an error %s", err, tt.reason)
			}
			if got := get(t, b, "m1"); got != "old" {
				t.Errorf("read %q; want what was there before", got)
			}
		})
	}
}

func testIDs(t *testing.T, b media.Blobs) {
	for _, id := range []string{"", "../x", "a/b", "a.b", "ü", strings.Repeat("a", 65)} {
		_, _, err := b.Open(t.Context(), id)
		for what, err := range map[string]error{
			"Put": b.Put(t.Context(), id, strings.NewReader("x"), 1), "Open": err, "Delete": b.Delete(t.Context(), id),
		} {
			if !fault.IsReason(err, fault.InvalidFieldReason) {
				t.Errorf("%s(%q) = %v; want %s", what, id, err, fault.InvalidFieldReason)
			}
		}
	}
	for _, id := range []string{"a", "Z_-9", strings.Repeat("a", 64)} {
		put(t, b, id, id)
		if got := get(t, b, id); got != id {
			t.Errorf("blob %s = %q; want its id", id, got)
		}
	}
}

func testRace(t *testing.T, b media.Blobs) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			content := bytes.Repeat([]byte{byte('a' + i)}, 10_000)
			if err := b.Put(t.Context(), "m1", bytes.NewReader(content), 10_000); err != nil {
				t.Errorf("Put = %v; want no error", err)
			}
		})
	}
	wg.Wait()
	if got := get(t, b, "m1"); len(got) != 10_000 || strings.Count(got, got[:1]) != 10_000 {
		t.Errorf("read %d bytes of mixed origin; want 10000 of one", len(got))
	}
}
