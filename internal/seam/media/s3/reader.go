package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/oceanchat/oceanchat/internal/seam/media"
)

// held is a small blob, read whole when it was opened.
type held struct{ *bytes.Reader }

// Close implements io.Closer.
func (held) Close() error { return nil }

// reader is a large blob. It reads on in the answer that it has as long as nobody seeks, and asks for the rest where
// that one breaks: at most tries times in a row without a byte. It is not safe for concurrent use.
type reader struct {
	b   *Blobs
	ctx context.Context //nolint:containedctx // lives until Close
	id  string

	etag, version string // of the object that it is about; a version only where the bucket keeps them
	size          int64
	pos           int64 // where the next Read begins
	closed        bool

	now *stream // nil: to be asked for
}

// stream is an answer of the store that is being read.
type stream struct {
	body   io.ReadCloser
	watch  *watch
	cancel context.CancelFunc
	at     int64 // what body gives next
}

func (s *stream) close() {
	if s != nil {
		_ = s.body.Close() // what was read is what counts
		s.cancel()
	}
}

// open asks for the whole object and notes which one it is. The end of ctx ends it.
func (r *reader) open(ctx context.Context) (media.Info, error) {
	info, err := r.ask(ctx, "open", minio.GetObjectOptions{})
	if err != nil {
		return media.Info{}, err
	}
	r.etag, r.size = info.ETag, info.Size
	if info.VersionID != "null" { // of objects from before versions were kept, which a Put replaces
		r.version = info.VersionID
	}
	if r.size < 0 || r.etag == "" {
		_ = r.Close()
		return media.Info{}, fmt.Errorf("s3: open blob %s: the answer has no Content-Length or no ETag", r.id)
	}
	return media.Info{Size: info.Size, Created: info.LastModified}, nil
}

// rest asks for the object from pos on.
func (r *reader) rest() error {
	opts := minio.GetObjectOptions{VersionID: r.version}
	err := errors.Join(opts.SetMatchETag(r.etag), opts.SetRange(r.pos, r.size-1))
	if err != nil {
		return fmt.Errorf("s3: read blob %s: %w", r.id, err)
	}
	_, err = r.ask(r.ctx, "read", opts)
	return err
}

// ask makes a new stream.
func (r *reader) ask(caller context.Context, what string, opts minio.GetObjectOptions) (minio.ObjectInfo, error) {
	w, cancel := newWatch(r.ctx, r.b.cfg.Timeout)
	stop := context.AfterFunc(caller, cancel)
	defer stop()
	w.start()
	body, info, head, err := r.b.core.GetObject(w.ctx, r.b.cfg.Bucket, r.b.name(r.id), opts)
	if err != nil {
		cancel()
		return info, explain(caller, what, r.id, w.why(err))
	}
	w.stop()
	s := &stream{body, w, cancel, r.pos}
	if part := head.Get("Content-Range"); r.pos > 0 && !strings.HasPrefix(part, fmt.Sprintf("bytes %d-", r.pos)) || r.etag != "" && info.ETag != r.etag {
		s.close()
		return info, fmt.Errorf("s3: read blob %s: the store answered with something else than the part that was asked for", r.id)
	}
	r.now = s
	return info, nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.closed {
		return 0, fs.ErrClosed
	}
	if r.pos >= r.size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	var err error
	for range tries {
		if err := r.ready(); err != nil {
			return 0, err
		}
		var n int
		if n, err = r.read(p); n > 0 {
			return n, nil
		}
	}
	return 0, explain(r.ctx, "read", r.id, err)
}

// ready makes sure that there is a stream, and that it is at pos.
func (r *reader) ready() error {
	if r.now != nil && r.now.at != r.pos {
		r.drop()
	}
	if r.now == nil {
		return r.rest()
	}
	return nil
}

// read reads once from the stream, and gives up one that fails.
func (r *reader) read(p []byte) (int, error) {
	s := r.now
	s.watch.start()
	n, err := s.body.Read(p[:min(int64(len(p)), r.size-r.pos)])
	s.watch.stop()
	s.at += int64(n)
	r.pos = s.at
	if err == nil {
		return n, nil
	}
	r.drop()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // unless n says that it was the end, there is more
	}
	return n, s.watch.why(err)
}

func (r *reader) drop() {
	r.now.close()
	r.now = nil
}

// Seek implements io.Seeker. It asks for nothing; the next Read does.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.size
	}
	if r.closed {
		return 0, fs.ErrClosed
	}
	if whence < io.SeekStart || whence > io.SeekEnd || offset < 0 {
		return 0, fs.ErrInvalid
	}
	r.pos = offset
	return offset, nil
}

// Close implements io.Closer.
func (r *reader) Close() error {
	r.drop()
	r.closed = true
	return nil
}
