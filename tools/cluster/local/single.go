package local

import (
	"context"
	"path/filepath"
	"slices"
)

// Single describes one process that runs everything, with embedded parts, and does not start it. Of Options it heeds Dir
// and Binary. env and args are settings and flags of it.
func Single(ctx context.Context, o Options, env, args []string) (*Process, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	if o.Binary == "" {
		if o.Binary, err = build(ctx, o.Dir, "oceanchat", oceanchatPackage); err != nil {
			return nil, err
		}
	}
	var p ports
	addrs, err := p.take(3)
	if err != nil {
		return nil, err
	}
	one := &Process{
		Name: "oceanchat", Targets: Targets(), Log: filepath.Join(o.Dir, "logs", "oceanchat.log"),
		HTTP: addrs[0], WS: addrs[0], TCP: addrs[1], Ops: addrs[2],
		path: o.Binary, args: args, check: answers,
	}
	one.env = slices.Concat(environment(), []string{
		"OCEANCHAT_DATA_DIR=" + filepath.Join(o.Dir, "data"),
		"OCEANCHAT_HTTP_ADDR=" + one.HTTP, "OCEANCHAT_TCP_ADDR=" + one.TCP, "OCEANCHAT_OPS_ADDR=" + one.Ops,
	}, env)
	return one, nil
}
