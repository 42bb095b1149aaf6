//go:build !unix

package wsgateway

import (
	"errors"
	"net"
	"syscall"
)

// Without unix sockets every connection takes the blocking way, as TLS does.
func rawOf(net.Conn) syscall.RawConn { return nil }

type rawReader struct{}

func newRawReader(syscall.RawConn) *rawReader { return &rawReader{} }

func (*rawReader) read() (*[]byte, int, error) { return nil, 0, errors.ErrUnsupported }

type rawWriter struct{}

func newRawWriter() *rawWriter { return &rawWriter{} }

func (*rawWriter) write(syscall.RawConn, []byte) (int, error) { return 0, errors.ErrUnsupported }
