// Package s3 keeps blobs in a bucket of an S3-compatible store: the cluster side of the media seam. It owns the objects
// below its prefix, each named by its blob's id, and the connections to the store. It never makes a bucket, never lists
// one, and gives out no link to the store.
//
// It keeps this: a Put is one request with the length in front, whose last piece is withheld until the source has proved
// to be exactly that long. The store so makes the object as a whole or not at all. Multipart uploads were rejected: they
// leave parts behind where a process dies, and the limit of uploads is far below the 5 GiB that one request may have.
// Every reader is of one object: what it asks for later names the version, or else the ETag, that it began with.
//
// The store has to know, besides PUT, GET and DELETE: Range, If-Match, and bodies in signed pieces (aws-chunked), over TLS
// with a CRC32C behind them. The key needs s3:GetObject, s3:PutObject, s3:DeleteObject and, so that what is missing is
// NOT_FOUND and not forbidden, s3:ListBucket; Diagnose tries all of that.
//
// What S3 cannot promise of the seam:
//
//   - When the answer to a Put is lost, nobody knows whether the blob is there. The error is then OUTCOME_UNKNOWN, and
//     putting the same again is harmless. Blobs of up to 256 KiB are held in memory and put again by themselves.
//   - Who reads a blob that is replaced or deleted meanwhile goes on reading the old one if it has at most 256 KiB, or
//     the bucket keeps versions, or the reader reads on and its connection lasts. Else, and always when the old version
//     was removed, Read fails with OVERLOADED (replaced) or NOT_FOUND (deleted). It never gives a mixture of two.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/media"
)

const (
	// small is the largest blob, in bytes, that is held in memory: to be put again, and to be read whatever happens to it.
	small = 256 << 10
	// maxSize is what one request may have, in bytes.
	maxSize = 5 << 30
	// tries is how often a request is sent that may be repeated. The driver waits up to a second between them.
	tries = 3
	// backoff is what repetitions wait at most, doubled each time.
	backoff = 100 * time.Millisecond
	// idleConns is how many unused connections are kept for the next requests.
	idleConns = 64
	// retryAfter is when to try again what failed because the store is away.
	retryAfter = time.Second
)

// Blobs implements media.Blobs.
type Blobs struct {
	cfg   Config
	core  minio.Core
	once  minio.Core // repeats nothing: for what is put, of which the driver forgets that it cannot be read again
	wire  *http.Transport
	small int64 // bytes; the constant, but in tests
}

var _ media.Blobs = (*Blobs)(nil)

// New returns the blobs of a bucket. It connects when it is first used. cfg must be valid; an error says that cfg.CA
// cannot be used or keys are missing.
func New(cfg Config) (*Blobs, error) {
	if cfg.AccessKey == "" || cfg.SecretKey == "" {
		return nil, errors.New("s3: access_key and secret_key are not set")
	}
	wire, err := newWire(cfg)
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	keys := credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey.Reveal(), "")
	core, err1 := newCore(cfg, wire, keys, tries)
	once, err2 := newCore(cfg, wire, keys, 1)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	return &Blobs{cfg: cfg, core: core, once: once, wire: wire, small: small}, nil
}

// Close ends the connections that nobody uses. Readers that are open stay so.
func (b *Blobs) Close() error {
	b.wire.CloseIdleConnections()
	return nil
}

// Put implements media.Blobs. A source that blocks forever blocks Put, too: nobody reads it once Put has returned.
func (b *Blobs) Put(ctx context.Context, id string, r io.Reader, size int64) error {
	if err := chat.CheckID("mediaId", id); err != nil {
		return err
	}
	if size < 0 || size > maxSize {
		return fault.InvalidField("size", "0 to 5 GiB")
	}
	if size > b.small {
		return b.send(ctx, id, newSource(r, size), size).err
	}
	content, err := take(r, size)
	if err != nil {
		return fmt.Errorf("put blob %s: %w", id, err)
	}
	return b.repeat(ctx, id, content)
}

// repeat puts what is held in memory, again while that may help.
func (b *Blobs) repeat(ctx context.Context, id string, content []byte) error {
	var last outcome
	for n := range tries {
		if n > 0 && !pause(ctx, n) {
			break
		}
		o := b.send(ctx, id, newSource(bytes.NewReader(content), int64(len(content))), int64(len(content)))
		if o.err == nil {
			return nil
		}
		if !last.unknown { // else it may be there, whatever came after
			last = o
		}
		if !o.passing {
			break
		}
	}
	return last.err
}

// outcome is what came of one request.
type outcome struct {
	err     error
	passing bool // it may go well the next time
	unknown bool // the blob may be there all the same
}

// send puts a source, once.
func (b *Blobs) send(ctx context.Context, id string, s *source, size int64) outcome {
	w, cancel := newWatch(ctx, b.cfg.Timeout)
	defer cancel()
	s.watch = w
	w.start()
	_, err := b.once.Client.PutObject(w.ctx, b.cfg.Bucket, b.name(id), s, size, b.putOptions(size))
	sent, broken := s.end()
	if err == nil {
		return outcome{}
	}
	if broken != nil { // the driver tells it as an error of the wire
		return outcome{err: fmt.Errorf("put blob %s: %w", id, broken)}
	}
	err = w.why(err)
	o := outcome{passing: passing(err) && !errors.Is(err, errSlow) && ctx.Err() == nil, unknown: sent && unsettled(err)}
	if o.unknown {
		err = fault.Wrap(err, fault.OutcomeUnknown, "the media store did not confirm; put the same again").After(retryAfter)
	}
	o.err = explain(ctx, "put", id, err)
	return o
}

// putOptions make the body come in pieces, signed or, over TLS, with a checksum behind the last: some stores (versitygw
// 1.8) take a plain body that was cut for a whole one. Of no bytes there is nothing to sign, and not every store (the
// same) understands an empty piece.
func (b *Blobs) putOptions(size int64) minio.PutObjectOptions {
	o := minio.PutObjectOptions{ContentType: "application/octet-stream", DisableMultipart: true, DisableContentSha256: size == 0}
	if size > 0 && b.once.EndpointURL().Scheme == "https" {
		o.Checksum = minio.ChecksumCRC32C
	}
	return o
}

// pause waits before the n-th repetition, and returns false when ctx ends.
func pause(ctx context.Context, n int) bool {
	t := time.NewTimer(rand.N(backoff << n)) //nolint:gosec // spreads load, hides nothing
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Open implements media.Blobs. ctx bounds Open alone, not what is read later: that ends with Close, or when the store
// gives nothing for Config.Timeout.
func (b *Blobs) Open(ctx context.Context, id string) (io.ReadSeekCloser, media.Info, error) {
	if err := chat.CheckID("mediaId", id); err != nil {
		return nil, media.Info{}, err
	}
	// The values of ctx, such as its trace, go on; its end counts until Open returns.
	r := &reader{b: b, ctx: context.WithoutCancel(ctx), id: id}
	info, err := r.open(ctx)
	if err != nil {
		return nil, media.Info{}, err
	}
	if info.Size > b.small {
		return r, info, nil
	}
	defer r.Close()
	content := make([]byte, info.Size)
	if _, err := io.ReadFull(r, content); err != nil {
		return nil, media.Info{}, err
	}
	return &held{Reader: bytes.NewReader(content)}, info, nil
}

// Delete implements media.Blobs. In a bucket that keeps versions the bytes stay until its lifecycle rules remove them.
func (b *Blobs) Delete(ctx context.Context, id string) error {
	if err := chat.CheckID("mediaId", id); err != nil {
		return err
	}
	w, cancel := newWatch(ctx, b.cfg.Timeout)
	defer cancel()
	w.start()
	err := b.core.RemoveObject(w.ctx, b.cfg.Bucket, b.name(id), minio.RemoveObjectOptions{})
	if err == nil || codeOf(err) == minio.NoSuchKey {
		return nil
	}
	return explain(ctx, "delete", id, w.why(err))
}

// name is that of the object.
func (b *Blobs) name(id string) string { return b.cfg.Prefix + id }
