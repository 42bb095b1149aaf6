package calls

import "context"

type shardKey struct{}

// WithShard returns a context whose calls go to the instance that serves the shard of their target, if there is one and
// the network can tell instances apart; else to any. So it is a hint for the sake of speed, and nothing that is correct
// may depend on it. It does not cross to the handler. A shard is one word of letters, digits, - and _.
func WithShard(ctx context.Context, shard string) context.Context {
	return context.WithValue(ctx, shardKey{}, shard)
}

// ShardOf returns the shard that calls with ctx are meant for, or "".
func ShardOf(ctx context.Context) string {
	s, _ := ctx.Value(shardKey{}).(string)
	return s
}
