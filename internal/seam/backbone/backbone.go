// Package backbone is the seam to core NATS and JetStream: the log's streams, work queues and
// signals that may be lost. It owns the words (interfaces, names, errors); it imports no driver
// and knows nothing of what the bytes mean.
//
// Every implementation keeps these invariants, which backbonetest checks: what Append or Publish
// of a queue acknowledged is there after any crash of the process; a Reader never skips a message
// that was not handled, and handles them in order; a task leaves its queue only when it was done
// or lies in the dead-letter stream.
package backbone

import (
	"context"
	"errors"
)

// The outcomes of a call that are certain. They are matched with errors.Is. Any other error of
// Append means that the outcome is unknown: the message may be there now, or appear later (a
// publish that timed out can still be stored), so the caller reads before it decides.
var (
	// ErrConflict says that nothing was stored, because the sequence is taken or not yet reached.
	ErrConflict = errors.New("backbone: another message is at that sequence")
	// ErrFull says that nothing was stored, because the stream or its disk has no space.
	ErrFull = errors.New("backbone: no space")
	// ErrRefused says that nothing was stored for another definite reason, such as size.
	ErrRefused = errors.New("backbone: refused")
	// ErrNotFound says that no message has that sequence: purged, or not there yet.
	ErrNotFound = errors.New("backbone: not found")
)

// Backbone is core NATS and JetStream, reduced to what OceanChat needs. Implementations are safe
// for concurrent use, keep no argument after a call, and reconnect by themselves: Logs and Queues
// stay valid across a lost connection, a restarted server and a disk that was full.
type Backbone interface {
	// Log opens the stream of a partition (0 ≤ partition) and creates it where it does not exist.
	Log(ctx context.Context, partition int) (Log, error)
	// Queue opens the stream behind a work queue and creates it where it does not exist.
	Queue(ctx context.Context, name QueueName) (Queue, error)
	// Publish sends a signal that nobody stores. nil means only that it was handed over.
	Publish(subject string, data []byte) error
	// Subscribe calls fn, one call at a time and in the order of arrival, for each signal on
	// subject, which may hold the wildcards * and >. Of the subscribers of one group one gets each
	// signal; with group "" every instance does. fn owns data. What a slow fn lets pile up beyond
	// a bound is dropped. stop ends it; a call under way may finish after stop returned.
	Subscribe(subject, group string, fn func(subject string, data []byte)) (stop func(), err error)
	// OnReconnect calls fn each time the connection is there again after it was lost, until stop is called: what was
	// published meanwhile to subjects that nobody stores has passed this process. fn must not block. In one process there
	// is no connection to lose, and fn is never called.
	OnReconnect(fn func()) (stop func())
	// Writable is nil while streams accept writes; /readyz asks it. It stores nothing in a stream.
	Writable(ctx context.Context) error
}
