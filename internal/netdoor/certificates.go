package netdoor

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is how often the files are looked at, by the first handshake that comes later.
const lookEvery = 2 * time.Second

// certificates holds the pair in use. It reads the files by content, as times and links of files tell too little: those
// of mounted secrets change in one step behind a link, and two writes may fall into one tick of the file system's clock.
type certificates struct {
	door  *Door
	files TLS
	inUse atomic.Pointer[tls.Certificate]

	mu     sync.Mutex // guards below; only tried by handshakes, none waits for another's reading
	looked time.Time
	seen   [sha256.Size]byte // of what was read last, whether it was taken or not
}

func newCertificates(d *Door, files TLS) *certificates {
	for _, result := range []string{"ok", "failed"} {
		d.set.m.loads.WithLabelValues(d.name, result) // an alarm needs the zero before the first failure
	}
	return &certificates{door: d, files: files}
}

// first reads the pair that the door opens with. One that has ended is taken: the server starts, clients say why not.
func (c *certificates) first() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	cert, sum, err := c.read()
	if err == nil && cert == nil {
		return nil // in use already
	}
	if err != nil {
		return fmt.Errorf("%s.tls: %w", c.door.name, err)
	}
	c.take(cert, sum)
	if time.Now().After(cert.Leaf.NotAfter) {
		c.door.set.log.Warn("the certificate has expired", "door", c.door.name, "expired", cert.Leaf.NotAfter)
	}
	return nil
}

// get returns the certificate for a handshake. It never fails for a pair that is bad: the one before serves on.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.mu.TryLock() {
		c.look(time.Now())
		c.mu.Unlock()
	}
	if cert := c.inUse.Load(); cert != nil {
		return cert, nil
	}
	return nil, errors.New("no certificate was read yet")
}

// look takes a new pair if there is one. c.mu is held.
func (c *certificates) look(now time.Time) {
	if now.Sub(c.looked) < lookEvery {
		return
	}
	c.looked = now
	cert, sum, err := c.read()
	if err == nil && cert != nil && now.After(cert.Leaf.NotAfter) {
		err = fmt.Errorf("it ended at %s", cert.Leaf.NotAfter)
	}
	switch {
	case err != nil:
		c.refuse(sum, err)
	case cert != nil:
		c.take(cert, sum)
	}
}

// read returns the pair in the files, or nil if they hold what they held at the last look.
func (c *certificates) read() (*tls.Certificate, [sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	certPEM, err1 := os.ReadFile(c.files.CertFile)
	keyPEM, err2 := os.ReadFile(c.files.KeyFile)
	if err := errors.Join(err1, err2); err != nil {
		return nil, sum, fmt.Errorf("read the certificate: %w", err)
	}
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%d\n", len(certPEM))
	_, _ = h.Write(certPEM)
	_, _ = h.Write(keyPEM)
	h.Sum(sum[:0])
	if sum == c.seen {
		return nil, sum, nil
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, sum, fmt.Errorf("load the certificate %s with the key %s: %w", c.files.CertFile, c.files.KeyFile, err)
	}
	return &pair, sum, nil
}

func (c *certificates) take(cert *tls.Certificate, sum [sha256.Size]byte) {
	c.inUse.Store(cert)
	c.seen = sum
	s := c.door.set
	s.m.loads.WithLabelValues(c.door.name, "ok").Inc()
	s.m.expires.WithLabelValues(c.door.name).Set(float64(cert.Leaf.NotAfter.Unix()))
	s.log.Info("certificate loaded", "door", c.door.name, "names", cert.Leaf.DNSNames, "expires", cert.Leaf.NotAfter)
}

// refuse keeps the pair in use and tells why, once for the same content. Files that cannot be read have the sum 0.
func (c *certificates) refuse(sum [sha256.Size]byte, err error) {
	if sum == c.seen {
		return
	}
	c.seen = sum
	c.door.set.m.loads.WithLabelValues(c.door.name, "failed").Inc()
	c.door.set.log.Error("new certificate refused, the one before stays", "door", c.door.name, "err", err)
}
