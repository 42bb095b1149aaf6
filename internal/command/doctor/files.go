package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"time"

	"github.com/oceanchat/oceanchat/internal/finding"
)

// Files are the files of a section of settings about TLS; each may be empty.
type Files struct {
	Setting       string // such as http.tls
	Cert, Key, CA string
}

// certificates judges all files.
func certificates(all []Files, now time.Time) (found []finding.Finding) {
	for _, f := range all {
		if f.Cert != "" || f.Key != "" {
			found = append(found, f.pair(now))
		}
		if f.CA != "" {
			found = append(found, f.ca(now))
		}
	}
	return found
}

func (f Files) pair(now time.Time) finding.Finding {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return finding.Bad(f.Setting, "the certificate cannot be used: "+finding.Text(err), "correct "+f.Setting+"; the user that runs the service must be able to read both files")
	}
	return finding.Expiry(f.Setting+" "+f.Cert, pair.Leaf.NotBefore, pair.Leaf.NotAfter, now)
}

// ca judges the certificate of a file that ends last: while one is valid, others may be old.
func (f Files) ca(now time.Time) finding.Finding {
	check := f.Setting + " " + f.CA
	text, err := os.ReadFile(f.CA)
	var last *x509.Certificate
	for err == nil {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if c, e := x509.ParseCertificate(block.Bytes); e == nil && (last == nil || c.NotAfter.After(last.NotAfter)) {
			last = c
		}
	}
	if err == nil && last == nil {
		err = errors.New("no certificate in it")
	}
	if err != nil {
		return finding.Bad(check, "cannot be used: "+finding.Text(err), "correct "+f.Setting)
	}
	return finding.Expiry(check, last.NotBefore, last.NotAfter, now)
}
