//go:build unix

package wsgateway

import (
	"io"
	"net"
	"syscall"
)

// rawOf returns the socket behind nc, or nil when bytes must go through nc itself, as with TLS.
func rawOf(nc net.Conn) syscall.RawConn {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return rc
}

// A rawReader reads when there is something to read and holds no buffer while it waits: a parked connection costs a
// small stack and nothing else.
type rawReader struct {
	rc   syscall.RawConn
	try  func(fd uintptr) bool
	buf  *[]byte
	n    int
	fail error
}

func newRawReader(rc syscall.RawConn) *rawReader {
	r := &rawReader{rc: rc}
	r.try = r.once
	return r
}

func (r *rawReader) once(fd uintptr) bool {
	buf := readBuffers.Get().(*[]byte)
	n, err := syscall.Read(int(fd), *buf)
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), *buf)
	}
	if n > 0 {
		r.buf, r.n, r.fail = buf, n, nil
		return true
	}
	readBuffers.Put(buf)
	if err == syscall.EAGAIN {
		return false
	}
	if err == nil {
		err = io.EOF
	}
	r.fail = err
	return true
}

// read waits for bytes. The buffer goes back to readBuffers when they have been looked at.
func (r *rawReader) read() (buf *[]byte, n int, err error) {
	if err := r.rc.Read(r.try); err != nil {
		return nil, 0, err
	}
	buf, r.buf = r.buf, nil
	return buf, r.n, r.fail
}

// A rawWriter writes once without waiting.
type rawWriter struct {
	try  func(fd uintptr) bool
	buf  []byte
	n    int
	fail error
}

func newRawWriter() *rawWriter {
	w := &rawWriter{}
	w.try = w.once
	return w
}

func (w *rawWriter) once(fd uintptr) bool {
	n, err := syscall.Write(int(fd), w.buf)
	for err == syscall.EINTR { //nolint:errorlint // syscall returns plain numbers
		n, err = syscall.Write(int(fd), w.buf)
	}
	if err == syscall.EAGAIN { //nolint:errorlint // syscall returns plain numbers
		n, err = 0, nil
	}
	w.n, w.fail = max(n, 0), err
	return true
}

// write returns how much of buf the socket took at once; less is no error.
func (w *rawWriter) write(rc syscall.RawConn, buf []byte) (int, error) {
	w.buf, w.n, w.fail = buf, 0, nil
	err := rc.Write(w.try)
	w.buf = nil
	if err == nil {
		err = w.fail
	}
	return w.n, err
}
