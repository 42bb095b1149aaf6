// Package freeport finds TCP ports for servers that are started as processes of their own and must be told theirs:
// those of tests, of bench and of a local cluster. Listening on port 0 and closing does not do for that: the kernel
// gives the same port to the next who asks, also for the near end of a connection, before the server is up.
//
// Its ports lie below those that kernels give out by themselves, and each is locked as long as this process lives, so
// that no other user of this package gets it too.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// Ports from first to last are given; the kernels' own begin at 32768 (Linux) or 49152.
const (
	first = 15000
	last  = 32000
)

// Take returns n different addresses 127.0.0.1:port that nobody listens on and nobody else is given while this process
// lives.
func Take(n int) ([]string, error) {
	dir := filepath.Join(os.TempDir(), "oceanchat-ports-"+strconv.Itoa(os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("find free ports: %w", err)
	}
	var out []string
	for _, offset := range rand.Perm(last - first) {
		if len(out) == n {
			return out, nil
		}
		port := strconv.Itoa(first + offset)
		if free(port) && lock(filepath.Join(dir, port)) {
			out = append(out, net.JoinHostPort("127.0.0.1", port))
		}
	}
	return nil, errors.New("find free ports: all are taken")
}

// free tells whether a server could listen on all addresses of the machine.
func free(port string) bool {
	l, err := net.Listen("tcp", ":"+port) //nolint:noctx // closed at once
	if err != nil {
		return false
	}
	return l.Close() == nil
}
