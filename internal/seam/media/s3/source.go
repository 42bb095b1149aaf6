package s3

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/oceanchat/oceanchat/internal/fault"
)

// source is what is put, read once. It gives its last piece only when it knows that nothing follows: so what the store
// got whole is exactly the blob. The store's time does not run while the source is read.
type source struct {
	watch *watch

	mu   sync.Mutex // guards below: the driver's last Read may come after its answer
	r    io.Reader
	left int64
	sent bool  // all of it was given away
	err  error // why not
}

// newSource returns one that is to give size bytes of r. Its watch is to be set.
func newSource(r io.Reader, size int64) *source {
	return &source{r: r, left: size, sent: size == 0} // of no bytes all are given at once
}

// take reads all of r, which is to have size bytes.
func take(r io.Reader, size int64) ([]byte, error) {
	content := make([]byte, size+1) // one more is enough to know
	n, err := io.ReadFull(r, content)
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("read the source: %w", err)
	case int64(n) != size:
		return nil, errSize()
	}
	return content[:n], nil
}

func errSize() error { return fault.InvalidField("size", "the number of bytes that follow") }

// errDone is what a late Read gets.
var errDone = errors.New("the blob is not read any more")

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return 0, s.err
	case s.sent:
		return 0, io.EOF
	}
	s.watch.stop()
	defer s.watch.start()
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		s.err = fmt.Errorf("read the source: %w", err)
	} else if s.left > 0 && err != nil || s.left == 0 && !s.ends(err) && s.err == nil {
		s.err = errSize()
	}
	if s.err != nil {
		return 0, s.err
	}
	s.sent = s.left == 0
	return n, nil
}

// ends tells whether nothing follows, after a Read that returned err.
func (s *source) ends(err error) bool {
	if err != nil {
		return true
	}
	n, err := io.ReadFull(s.r, make([]byte, 1))
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = fmt.Errorf("read the source: %w", err)
	}
	return n == 0
}

// end waits for a Read that is under way and lets no further one touch the source. It returns whether all was given
// away, and why not if the source is to blame.
func (s *source) end() (sent bool, broken error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent, broken = s.sent, s.err
	if !sent && broken == nil {
		s.err = errDone
	}
	return sent, broken
}
