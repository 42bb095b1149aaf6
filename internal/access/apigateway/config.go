package apigateway

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/oceanchat/oceanchat/internal/config"
)

// Config is the "api_gateway" section of the configuration.
type Config struct {
	RateLimit float64 `yaml:"rate_limit" default:"10" min:"0" doc:"Requests per second of one user, or of one IP address (IPv6: one /64) without a valid token, over all instances. 0: no limit."`
	Burst     int     `yaml:"burst" default:"20" min:"1" doc:"How many requests may come at once within the rate limit."`

	Origins []string `yaml:"origins" doc:"Origins of web pages that may use the REST door besides the server's own, such as https://chat.example.com; * allows all."`

	BodyLimit      config.Bytes  `yaml:"body_limit" default:"64KiB" min:"1KiB" max:"16MiB" doc:"The longest body of a request."`
	RequestTimeout time.Duration `yaml:"request_timeout" default:"15s" min:"10ms" max:"2m" doc:"How long a service may take for a request; then its outcome is unknown."`
	CheckTimeout   time.Duration `yaml:"check_timeout" default:"5s" min:"10ms" max:"1m" doc:"How long it may take to look up whether a session is open."`
	HeaderTimeout  time.Duration `yaml:"header_timeout" default:"5s" min:"10ms" max:"1m" doc:"How long a client may take to send the header of a request."`
	ReadTimeout    time.Duration `yaml:"read_timeout" default:"15s" min:"10ms" max:"5m" doc:"How long a client may take to send a request."`
	IdleTimeout    time.Duration `yaml:"idle_timeout" default:"2m" min:"10ms" max:"1h" doc:"How long a connection may wait for its next request."`

	AccessLog bool `yaml:"access_log" default:"true" doc:"Write a line for each request."`
}

const (
	maxHeader   = 16 << 10         // bytes
	writeMargin = 15 * time.Second // for sending the answer to a slow client
)

// Validate returns all broken rules that no tag can tell, joined.
func (c *Config) Validate() error {
	var errs []error
	for _, o := range c.Origins {
		if o != anyOrigin && !isOrigin(o) {
			errs = append(errs, fmt.Errorf("origins: %q: want * or an origin such as https://chat.example.com", o))
		}
	}
	return errors.Join(errs...)
}

func isOrigin(s string) bool {
	u, err := url.Parse(strings.TrimSuffix(s, "/"))
	return err == nil && u.Scheme != "" && u.Host != "" && u.User == nil && u.Path == "" && u.RawQuery == "" && u.Fragment == ""
}
