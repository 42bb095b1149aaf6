package backbone

import "context"

// Keeper changes which logs there are. It is for maintenance, while nobody appends; implementations are those of Backbone.
type Keeper interface {
	// Logs returns the partitions that have a log, and for how many partitions each says that it was made; 0: it does not say.
	Logs(ctx context.Context) (map[int]int, error)
	// Declare makes the log of a partition one of of: it is created where there is none, and keeps what it holds where there is one.
	Declare(ctx context.Context, partition, of int) error
	// Drop deletes the log of a partition with everything in it. What is gone already is no error.
	Drop(ctx context.Context, partition int) error
}
