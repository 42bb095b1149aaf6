package netdoor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/internal/netdoor"
)

func TestClientTLS(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none.pem")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		tls  netdoor.ClientTLS
		on   bool
		want string // begins the error; "" is none
	}{
		{"off", netdoor.ClientTLS{CA: none}, false, ""},
		{"the machine's authorities", netdoor.ClientTLS{Enabled: true}, true, ""},
		{"no such CA", netdoor.ClientTLS{Enabled: true, CA: none}, false, "read the CA: open "},
		{"a CA without certificates", netdoor.ClientTLS{Enabled: true, CA: empty}, false, "read the CA: no certificate in "},
		{"no such pair", netdoor.ClientTLS{Enabled: true, Cert: none, Key: none}, false, "load the certificate: "},
	} {
		c, err := tt.tls.Config()
		if (c != nil) != tt.on || (err != nil) != (tt.want != "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: Config = %v, %v; want on: %t, error %q…", tt.name, c, err, tt.on, tt.want)
		}
	}
	if err := (netdoor.ClientTLS{Cert: "c"}).Validate(); err == nil {
		t.Error("Validate of a certificate without key = nil; want an error")
	}
}
