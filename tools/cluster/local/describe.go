package local

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// description is a running cluster for programs that measure it, such as "oceanchat bench --cluster", which has the same
// words. Members are added, never renamed.
type description struct {
	URL      string   `json:"url"`           // of REST and WebSocket: the front, or without one the first that serves it
	TCP      string   `json:"tcp,omitempty"` // the same for TCP connections, host:port
	HTTP     []string `json:"http"`          // each api-gateway, http://host:port
	WS       []string `json:"ws"`            // each ws-gateway, ws://host:port/ws
	Mongo    string   `json:"mongo"`         // "stand-in", or "real"
	Replicas int      `json:"replicas"`      // of streams
	Sync     string   `json:"sync"`          // Options.Sync

	Processes []describedProcess `json:"processes"` // parts first; ids are those of this life
}

type describedProcess struct {
	Name    string   `json:"name"`
	Targets []string `json:"targets,omitempty"` // of a service
	PID     int      `json:"pid"`
	Ops     string   `json:"ops,omitempty"` // of a service: operations port, host:port
}

// Describe writes a file that says in JSON where the services serve clients, and which processes run, parts too. It holds
// no password. Who restarts a process describes the cluster anew.
func (s *Services) Describe(file string) error {
	d := description{URL: s.URL, TCP: s.TCP, Mongo: "stand-in", Sync: s.parts.o.Sync}
	if s.parts.Mongo == nil {
		d.Mongo = "real"
	}
	for _, v := range s.Settings {
		if n, ok := strings.CutPrefix(v, "OCEANCHAT_NATS_REPLICAS="); ok {
			d.Replicas, _ = strconv.Atoi(n) // written by settings
		}
	}
	for _, p := range s.parts.Processes() {
		d.Processes = append(d.Processes, describedProcess{Name: p.Name, PID: p.PID()})
	}
	for _, p := range s.list {
		d.Processes = append(d.Processes, describedProcess{Name: p.Name, Targets: p.Targets, PID: p.PID(), Ops: p.Ops})
		if p.HTTP != "" {
			d.HTTP = append(d.HTTP, "http://"+p.HTTP)
		}
		if p.WS != "" {
			d.WS = append(d.WS, "ws://"+p.WS+"/ws")
		}
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err == nil {
		err = os.WriteFile(file, append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("describe the cluster: %w", err)
	}
	return nil
}
