package app

import (
	"slices"

	"github.com/oceanchat/oceanchat/internal/command/doctor"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/delivery/orchestrator"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/jetstream"
	"github.com/oceanchat/oceanchat/internal/support/persistence"
)

// calledBy are the targets that each calls over gRPC.
var calledBy = map[string][]string{
	apiGateway:        {"auth", "user", "group", "message", "presence", "query", "pusher-offline"},
	"auth":            {"user"},
	"user":            {"message"},
	"group":           {"user", "message"},
	"message":         {"user", "group"},
	"presence":        {"user", "group"},
	"orchestrator":    {"user", "group", "presence"},
	"pusher-realtime": {"presence"},
	"pusher-offline":  {"user", "group"},
	"query":           {"user", "group", "message"},
}

// planDoctor implements doctor.Open. Without a target it means all of a cluster, each in a process of its own.
func planDoctor(args, env []string) (doctor.Plan, error) {
	var cfg Config
	loaded, err := config.Load(&cfg, config.Sources{Args: args, Env: env, Others: others})
	if err != nil {
		return doctor.Plan{}, err
	}
	apart := len(loaded.Args) == 0
	if apart {
		loaded.Args = Targets()
	}
	chosen, err := planOf(loaded.Args)
	if err != nil {
		return doctor.Plan{}, err
	}
	p := doctor.Plan{Targets: loaded.Args, Warnings: loaded.Warnings, Files: []doctor.Files{
		{Setting: "http.tls", Cert: cfg.HTTP.TLS.CertFile, Key: cfg.HTTP.TLS.KeyFile},
		{Setting: "tcp.tls", Cert: cfg.TCP.TLS.CertFile, Key: cfg.TCP.TLS.KeyFile},
		{Setting: "ops.tls", Cert: cfg.Ops.TLS.CertFile, Key: cfg.Ops.TLS.KeyFile},
	}}
	if chosen.has(wsGateway) {
		p.MaxConnections = cfg.WSGateway.MaxConnections
	}
	sync := cfg.Log.Sync == "always"
	if !chosen.cluster {
		p.Embedded = &doctor.Embedded{DataDir: cfg.DataDir, SyncAlways: sync}
		return p, nil
	}
	p.NATS = &jetstream.Diagnosis{
		Servers: cfg.NATS.servers(), SyncAlways: sync, Readers: []string{persistence.Reader, orchestrator.ReaderName},
		Config:   jetstream.Config{Replicas: cfg.NATS.Replicas, LogMaxBytes: int64(cfg.Log.MaxBytes), Partitions: cfg.Log.partitions(true)},
		Monitors: cfg.Doctor.NATSMonitor, SystemUser: cfg.Doctor.NATSSystemUser, SystemPassword: cfg.Doctor.NATSSystemPassword,
	}
	if chosen.uses(fastState) {
		p.Redis = &cfg.Redis
	}
	if chosen.uses(database) {
		m := cfg.Mongo.config()
		p.Mongo = &m
	}
	p.Files = append(p.Files, doctor.Files{Setting: "grpc.tls", Cert: cfg.GRPC.TLS.Cert, Key: cfg.GRPC.TLS.Key, CA: cfg.GRPC.TLS.CA})
	var called []string
	for _, t := range chosen.targets {
		for _, c := range calledBy[t.name] {
			if (apart || !chosen.has(c)) && !slices.Contains(called, c) {
				called = append(called, c)
			}
		}
	}
	p.Peers = doctor.PeersOf(called, cfg.GRPC.Peers, cfg.GRPC.Addrs)
	return p, nil
}
