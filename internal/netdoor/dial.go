package netdoor

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// ClientTLS says how connections to another server are encrypted: Redis, NATS and alike.
type ClientTLS struct {
	Enabled bool   `yaml:"enabled" default:"false" doc:"Whether to connect by TLS."`
	CA      string `yaml:"ca" doc:"File of the certificates that sign the servers'; empty means the machine's."`
	Cert    string `yaml:"cert" doc:"File of this client's certificate, where the servers ask for one. A new one is used from the next connection on."`
	Key     string `yaml:"key" doc:"File of the certificate's key."`
}

// Validate refuses half a pair.
func (t ClientTLS) Validate() error {
	if (t.Cert == "") != (t.Key == "") {
		return errors.New("cert and key belong together")
	}
	return nil
}

// Config returns what to connect with, nil for plain connections. An error says which file cannot be used.
func (t ClientTLS) Config() (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil //nolint:nilnil // without TLS there is no configuration of it
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("read the CA: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read the CA: no certificate in %s", t.CA)
		}
	}
	if t.Cert == "" {
		return c, nil
	}
	load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("load the certificate: %w", err)
		}
		return &pair, nil
	}
	if _, err := load(nil); err != nil {
		return nil, err
	}
	c.GetClientCertificate = load
	return c, nil
}
