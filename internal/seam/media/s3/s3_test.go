package s3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/minio/minio-go/v7"

	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/media"
	"github.com/oceanchat/oceanchat/internal/seam/media/mediatest"
	"github.com/oceanchat/oceanchat/internal/seam/media/s3"
)

// streamed returns blobs of which none is held in memory.
func streamed(t *testing.T, cfg s3.Config) *s3.Blobs {
	t.Helper()
	b := dial(t, cfg)
	b.HoldUpTo(0)
	return b
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	for _, kind := range []struct {
		name   string
		config func(*testing.T) s3.Config
		dial   func(*testing.T, s3.Config) *s3.Blobs
	}{
		{"as it is", named, dial},
		{"nothing is held in memory", named, streamed},
		{"a bucket that keeps versions", func(t *testing.T) s3.Config {
			cfg := local(t)
			cfg.Bucket = versions
			return cfg
		}, streamed},
		{"no prefix, another bucket", func(t *testing.T) s3.Config {
			cfg := local(t)
			cfg.Prefix, cfg.Bucket = "", "other-"+strings.ToLower(cfg.Prefix[5:18])
			if err := client(t, cfg).MakeBucket(t.Context(), cfg.Bucket, minio.MakeBucketOptions{}); err != nil {
				t.Fatal(err)
			}
			return cfg
		}, dial},
	} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			mediatest.TestBlobs(t, func(t *testing.T) media.Blobs {
				cfg := kind.config(t)
				tidy(t, cfg)
				return kind.dial(t, cfg)
			})
		})
	}
}

// sizes are on both sides of what is held in memory.
var sizes = map[string]int{"small": 1000, "large": 3 << 20}

// big is more than the buffers of all sockets on the way hold.
const big = 30 << 20

// all is what patterns are the beginnings of.
var all = sync.OnceValue(func() []byte {
	b := make([]byte, big)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
})

// pattern returns n bytes that differ from place to place. They are not to be changed.
func pattern(n int) []byte { return all()[:n] }

// TestNothingLeft: what goes wrong with the source leaves nothing in the bucket, whatever its size is.
func TestNothingLeft(t *testing.T) {
	t.Parallel()
	broken := errors.New("the client hung up")
	for name, size := range sizes {
		content := pattern(size)
		tests := []struct {
			name string
			r    io.Reader
			want error
		}{
			{"short by one", bytes.NewReader(content[1:]), fault.InvalidField("size", "")},
			{"long by one", io.MultiReader(bytes.NewReader(content), strings.NewReader("x")), fault.InvalidField("size", "")},
			{"endless", io.MultiReader(bytes.NewReader(content), endless{}), fault.InvalidField("size", "")},
			{"cut short", io.MultiReader(bytes.NewReader(content[:size/2]), iotest.ErrReader(io.ErrUnexpectedEOF)), fault.InvalidField("size", "")},
			{"breaks in the middle", io.MultiReader(bytes.NewReader(content[:size/2]), iotest.ErrReader(broken)), broken},
			{"breaks instead of ending", io.MultiReader(bytes.NewReader(content), iotest.ErrReader(broken)), broken},
		}
		for _, tt := range tests {
			t.Run(name+", "+tt.name, func(t *testing.T) {
				t.Parallel()
				cfg := local(t)
				if err := dial(t, cfg).Put(t.Context(), "m1", tt.r, int64(size)); !errors.Is(err, tt.want) {
					t.Errorf("Put = %v; want %v", err, tt.want)
				}
				if got := objects(t, cfg); len(got) != 0 {
					t.Errorf("objects = %v; want none", got)
				}
			})
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestOddSources: readers may give little at a time, or their end with the last bytes.
func TestOddSources(t *testing.T) {
	t.Parallel()
	for name, size := range sizes {
		content := pattern(size)
		for odd, wrap := range map[string]func(io.Reader) io.Reader{"halves": iotest.HalfReader, "the end with the data": iotest.DataErrReader} {
			t.Run(name+", "+odd, func(t *testing.T) {
				t.Parallel()
				b := dial(t, local(t))
				if err := b.Put(t.Context(), "m1", wrap(bytes.NewReader(content)), int64(size)); err != nil {
					t.Fatalf("Put = %v; want no error", err)
				}
				if got := readAll(t, b); !bytes.Equal(got, content) {
					t.Errorf("read %d other bytes; want the %d that were put", len(got), size)
				}
			})
		}
	}
}

func readAll(t *testing.T, b media.Blobs) []byte {
	t.Helper()
	r, _, err := b.Open(t.Context(), "m1")
	if err != nil {
		t.Fatalf("Open = %v; want no error", err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("Read = %v; want no error", err)
	}
	return got
}

// TestServeContent: readers do what ranges of HTTP need, and what iotest finds.
func TestServeContent(t *testing.T) {
	t.Parallel()
	for name, size := range sizes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			content := pattern(size)
			b := dial(t, local(t))
			if err := b.Put(t.Context(), "m1", bytes.NewReader(content), int64(size)); err != nil {
				t.Fatal(err)
			}
			r, info, err := b.Open(t.Context(), "m1")
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for _, part := range []string{"bytes=0-9", "bytes=500-799", "bytes=-7", "bytes=1-"} {
				req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
				req.Header.Set("Range", part)
				w, want := httptest.NewRecorder(), httptest.NewRecorder()
				http.ServeContent(w, req, "", info.Created, r)
				http.ServeContent(want, req, "", info.Created, bytes.NewReader(content))
				if w.Code != want.Code || !bytes.Equal(w.Body.Bytes(), want.Body.Bytes()) {
					t.Errorf("%s = %d, %d bytes; want %d, %d bytes", part, w.Code, w.Body.Len(), want.Code, want.Body.Len())
				}
			}
			if _, err := r.Seek(-1, io.SeekStart); err == nil {
				t.Error("Seek before the beginning = nil; want an error")
			}
			if n, err := r.Seek(5, io.SeekEnd); n != int64(size)+5 || err != nil {
				t.Errorf("Seek behind the end = %d, %v; want %d", n, err, size+5)
			}
			if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("Read behind the end = %d, %v; want the end", n, err)
			}
		})
	}
}

// TestReplacedUnderReader: a reader gives one blob or an error, never parts of two.
func TestReplacedUnderReader(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	remove := func(t *testing.T, b media.Blobs) error { return b.Delete(t.Context(), "m1") }
	replace := func(t *testing.T, b media.Blobs) error {
		return b.Put(t.Context(), "m1", bytes.NewReader(make([]byte, size)), size)
	}
	tests := []struct {
		name, bucket string
		change       func(*testing.T, media.Blobs) error
		want         fault.Reason // of a Read after a Seek; "": the old blob
	}{
		{"replaced", bucket, replace, fault.Overloaded},
		{"deleted", bucket, remove, fault.NotFoundReason},
		{"replaced, versions are kept", versions, replace, ""},
		{"deleted, versions are kept", versions, remove, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := local(t)
			cfg.Bucket = tt.bucket
			b, content := dial(t, cfg), pattern(size)
			if err := b.Put(t.Context(), "m1", bytes.NewReader(content), size); err != nil {
				t.Fatal(err)
			}
			r, _, err := b.Open(t.Context(), "m1")
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if err := tt.change(t, b); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
				t.Errorf("reading on = %d bytes, %v; want the old blob", len(got), err)
			}
			if _, err := r.Seek(1, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if fault.ReasonOf(err) != tt.want || err == nil && !bytes.Equal(got, content[1:]) || err != nil && len(got) > 0 {
				t.Errorf("after a Seek = %d bytes, %v; want %q", len(got), err, tt.want)
			}
		})
	}
}

// TestOpenOutlivesContext: the context of Open may end before the blob is read.
func TestOpenOutlivesContext(t *testing.T) {
	t.Parallel()
	content := pattern(3 << 20)
	b := dial(t, local(t))
	if err := b.Put(t.Context(), "m1", bytes.NewReader(content), int64(len(content))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, _, err := b.Open(ctx, "m1")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
		t.Errorf("read %d bytes, %v; want the blob", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("Close = %v; want no error", err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Read after Close = %v; want %v", err, fs.ErrClosed)
	}
	if _, _, err := b.Open(ctx, "m1"); !errors.Is(err, ctx.Err()) {
		t.Errorf("Open when its context has ended = %v; want %v", err, ctx.Err())
	}
}
