// Package deploy tests what deploy/ ships, by everything that can run without a container engine: real NATS servers with the
// shipped configuration, Compose's own parser, the real helm, Prometheus' own parser. It ships nothing itself.
package deploy
