package grpcnet

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/oceanchat/oceanchat/internal/netdoor"
)

// placeholder stands for the target's name in Config.Peers.
const placeholder = "{target}"

// Config is the "grpc" section of the configuration.
type Config struct {
	Addr     string        `yaml:"addr" default:":7070" doc:"Where this process serves gRPC to the other processes of the cluster."`
	Peers    string        `yaml:"peers" default:"dns:///oceanchat-{target}:7070" doc:"Where the instances of a target are, {target} being its name. All addresses of the name are used in turn, so in Kubernetes it should be a headless service."`
	Addrs    []string      `yaml:"addrs" doc:"Instances of targets, each target=host:port, the same target as often as it has instances. They win over peers."`
	TLS      TLS           `yaml:"tls"`
	MaxCalls int           `yaml:"max_calls" default:"4096" min:"1" doc:"Most calls that this process works on; more are refused at once."`
	MaxAge   time.Duration `yaml:"max_age" default:"2m" min:"1s" doc:"How long a connection to this process is kept before the peer is asked to connect anew, and so to find new instances."`
}

// TLS says how processes prove to each other who they are. Each is server and client, with one certificate for both.
type TLS struct {
	Cert string `yaml:"cert" doc:"File of this process's certificate in PEM; with key and ca, processes of the cluster let in only each other. Files are read again when they change."`
	Key  string `yaml:"key" doc:"File of the certificate's key in PEM."`
	CA   string `yaml:"ca" doc:"File of the certificates that sign the others' in PEM."`
}

// Validate reports what the tags can't say.
func (c Config) Validate() error {
	var errs []error
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		errs = append(errs, fmt.Errorf("addr = %q: want host:port", c.Addr))
	}
	if c.Peers != "" && !strings.Contains(c.Peers, placeholder) {
		errs = append(errs, fmt.Errorf("peers = %q: want %s in it", c.Peers, placeholder))
	}
	if _, err := c.instances(); err != nil {
		errs = append(errs, err)
	}
	if n := len(c.TLS.Cert) * len(c.TLS.Key) * len(c.TLS.CA); n == 0 && c.TLS != (TLS{}) {
		errs = append(errs, errors.New("tls: cert, key and ca belong together"))
	}
	return errors.Join(errs...)
}

// instances returns the addresses of Addrs by target.
func (c Config) instances() (map[string][]string, error) {
	out := map[string][]string{}
	var errs []error
	for _, a := range c.Addrs {
		target, addr, ok := strings.Cut(a, "=")
		if _, _, err := net.SplitHostPort(addr); !ok || target == "" || err != nil {
			errs = append(errs, fmt.Errorf("addrs: %q: want target=host:port", a))
			continue
		}
		out[target] = append(out[target], addr)
	}
	return out, errors.Join(errs...)
}

func (t TLS) on() bool { return t.Cert != "" }

// Check returns why the files cannot be used, if they are set.
func (t TLS) Check() error {
	if !t.on() {
		return nil
	}
	_, err := netdoor.ClientTLS{Enabled: true, CA: t.CA}.Config()
	return errors.Join(t.door().Check(), err)
}

// door is what netdoor reads again.
func (t TLS) door() netdoor.TLS { return netdoor.TLS{CertFile: t.Cert, KeyFile: t.Key} }
