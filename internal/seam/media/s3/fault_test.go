package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/media/s3"
)

// put puts a pattern of that size as m1.
func put(ctx context.Context, b *s3.Blobs, size int) error {
	return b.Put(ctx, "m1", bytes.NewReader(pattern(size)), int64(size))
}

// read opens m1 and reads all of it.
func read(ctx context.Context, b *s3.Blobs) ([]byte, error) {
	r, _, err := b.Open(ctx, "m1")
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// calls are all of the seam, with a small blob.
func calls(ctx context.Context, b *s3.Blobs) map[string]error {
	_, open := read(ctx, b)
	return map[string]error{"Put": put(ctx, b, sizes["small"]), "large Put": put(ctx, b, sizes["large"]), "Open": open, "Delete": b.Delete(ctx, "m1")}
}

// TestAway: without a store New works and calls fail with what callers can map.
func TestAway(t *testing.T) {
	t.Parallel()
	for name, err := range calls(t.Context(), dial(t, defaults(t, "http://127.0.0.1:1"))) {
		if !fault.IsReason(err, fault.Overloaded) {
			t.Errorf("%s without a store = %v; want %s", name, err, fault.Overloaded)
		}
	}
}

// TestKilled: the store dies, with a reader open, and comes back.
func TestKilled(t *testing.T) {
	t.Parallel()
	s, err := start(program(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	if err := furnish(s.url); err != nil {
		t.Fatal(err)
	}
	b := dial(t, defaults(t, s.url))
	b.HoldUpTo(0)
	if err := put(t.Context(), b, big); err != nil {
		t.Fatal(err)
	}
	r, _, err := b.Open(t.Context(), "m1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	again := s.Cmd.Args
	s.Kill()
	if _, err := io.ReadAll(r); !fault.IsReason(err, fault.Overloaded) {
		t.Errorf("Read without a store = %v; want %s", err, fault.Overloaded)
	}
	if err := put(t.Context(), b, 10); !errors.Is(err, fault.New(fault.Overloaded, "")) && !errors.Is(err, fault.New(fault.OutcomeUnknown, "")) {
		t.Errorf("Put without a store = %v; want %s", err, fault.Overloaded)
	}
	if err := s.run(exec.Command(again[0], again[1:]...)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, pattern(big)) {
		t.Errorf("Read when the store is back = %d bytes, %v; want the blob", len(got), err)
	}
}

// TestDenied: what an operator has to mend is INTERNAL to clients, says what it is, and tells no secret.
func TestDenied(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		set  func(*s3.Config)
		want string
	}{
		{"wrong secret", func(c *s3.Config) { c.SecretKey = secretKey + "x" }, "SignatureDoesNotMatch"},
		{"unknown key", func(c *s3.Config) { c.AccessKey = "sesame7" }, "access key"},
		{"no such bucket", func(c *s3.Config) { c.Bucket = "nowhere" }, "NoSuchBucket"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := local(t)
			tt.set(&cfg)
			for name, err := range calls(t.Context(), dial(t, cfg)) {
				if name == "large Put" && err != nil {
					continue // a store that answers and hangs up while the body comes may be known only as a broken connection
				}
				if !fault.IsReason(err, fault.InternalReason) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s = %v; want %s because of %s", name, err, fault.InternalReason, tt.want)
				}
				if strings.Contains(fmt.Sprintf("%+v", err), secretKey) {
					t.Errorf("%s tells the secret: %v", name, err)
				}
			}
		})
	}
}

// TestSilent: a store that never answers is not waited for.
func TestSilent(t *testing.T) {
	t.Parallel()
	cfg := local(t)
	p := between(t, &cfg, false)
	cfg.Timeout = 100 * time.Millisecond
	b := dial(t, cfg)
	p.set(-1, trouble{silent: true})
	for name, err := range calls(t.Context(), b) {
		put := strings.HasSuffix(name, "Put") // which may be over before the body is sent
		if !fault.IsReason(err, fault.Overloaded) && (!put || !fault.IsReason(err, fault.OutcomeUnknown)) || errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v; want %s, or of a Put %s", name, err, fault.Overloaded, fault.OutcomeUnknown)
		}
	}
}

// TestCallerLeaves: the end of the caller's context ends a call that waits for the store, as what it is.
func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	cfg := local(t)
	p := between(t, &cfg, false)
	b := dial(t, cfg)
	p.set(-1, trouble{silent: true})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for name, err := range calls(ctx, b) {
		if !fault.IsReason(err, fault.OutcomeUnknown) {
			t.Errorf("%s = %v; want %s", name, err, fault.OutcomeUnknown)
		}
	}
}

// TestTLS: over TLS bodies are not signed piece by piece; what goes wrong leaves nothing there, too.
func TestTLS(t *testing.T) {
	t.Parallel()
	cfg := local(t)
	direct := cfg
	between(t, &cfg, true)
	b := dial(t, cfg)
	for name, size := range sizes {
		if err := put(t.Context(), b, size); err != nil {
			t.Errorf("Put of a %s blob = %v; want no error", name, err)
		}
		if got, err := read(t.Context(), b); err != nil || !bytes.Equal(got, pattern(size)) {
			t.Errorf("read %d bytes, %v; want the %s blob", len(got), err, name)
		}
		if err := b.Put(t.Context(), "m2", bytes.NewReader(pattern(size)), int64(size)-1); !fault.IsReason(err, fault.InvalidFieldReason) {
			t.Errorf("Put of too long a %s blob = %v; want %s", name, err, fault.InvalidFieldReason)
		}
	}
	if got := objects(t, direct); len(got) != 1 {
		t.Errorf("objects = %v; want m1 alone", got)
	}
	cfg.CA = ""
	if err := put(t.Context(), dial(t, cfg), 10); err == nil || !strings.Contains(err.Error(), "x509") {
		t.Errorf("Put to a store that nobody vouches for = %v; want an error about its certificate", err)
	}
}

// TestSaysNothing: neither this package nor the driver writes to standard error or the log of the process.
func TestSaysNothing(t *testing.T) { //nolint:paralleltest // it takes the log of the process
	var out bytes.Buffer
	log.SetOutput(&out)
	defer log.SetOutput(os.Stderr)
	cfg := local(t)
	cfg.SecretKey = "sesame7-sesame7"
	b := dial(t, cfg)
	for name, err := range calls(t.Context(), b) {
		if err == nil {
			t.Errorf("%s with a wrong secret = nil; want an error", name)
		}
	}
	if text := fmt.Sprintf("%v %+v %s", cfg, cfg, out.String()); strings.Contains(text, "sesame7") || out.Len() > 0 {
		t.Errorf("said %q; want nothing", text)
	}
}
