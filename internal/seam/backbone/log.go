package backbone

import (
	"context"
	"time"
)

// Message is one stored message of a Log: for OceanChat a batch of entries.
type Message struct {
	Seq  uint64    // position in the stream, from 1, contiguous except for what was purged
	Time time.Time // when the stream stored it, by the clock of the stream's leader
	Data []byte    // owned by the receiver
}

// LogInfo is the state of a stream as its leader sees it.
type LogInfo struct {
	// Incarnation is a random word that is chosen when the stream is created. Another one means
	// another log: sequences of the old one say nothing about it.
	Incarnation string
	// First and Last bound what is stored. A log that is empty has First = Last + 1; one that was
	// never written has Last = 0.
	First, Last uint64
	// Bytes is what is stored now, and MaxBytes where Append starts to answer ErrFull; 0 is no limit.
	Bytes, MaxBytes uint64
}

// Log is one append-only stream: file storage, DiscardNew, no age limit; only Purge removes.
// It is safe for concurrent use by any number of instances.
type Log interface {
	// Append stores data as the message that follows sequence expect, and returns its sequence.
	// nil: committed, as durably as the server's sync setting says. ErrConflict: not committed,
	// the last sequence is not expect. ErrFull, ErrRefused: not committed, and expect may not
	// have been looked at. Any other error (also that of ctx): unknown, and it may still be stored
	// after Append returned; the caller reads, and where it finds nothing it appends with the
	// same expect, which is a fence.
	Append(ctx context.Context, data []byte, expect uint64) (seq uint64, err error)
	// Info asks the stream's leader, so Last includes everything acknowledged before the call.
	Info(ctx context.Context) (LogInfo, error)
	// Confirm returns nil if a majority of the stream's replicas took part in something after the call began. A leader
	// that is cut off from them goes on answering Info and Get for some seconds, and does not know what was
	// acknowledged without it. Info behind a Confirm is by a leader that does. It costs some round trips: it is for
	// deciding on what cannot be taken back.
	Confirm(ctx context.Context) error
	// Get reads one message through the leader: ErrNotFound means that it is not committed or was
	// purged. It costs a round trip; for more than a few use Read.
	Get(ctx context.Context, seq uint64) (Message, error)
	// Read calls fn with each message from and to inclusive, in order and without a hole except
	// for what was purged. It ends at to, or at the Last that the leader states when Read begins,
	// whichever is lower; so it never waits for a message to be written. from 0 counts as 1. An
	// error of fn ends it and is returned as it is.
	Read(ctx context.Context, from, to uint64, fn func(Message) error) error
	// SeqAt returns the sequence of the first message stored at or after t, or Last+1 if none is.
	SeqAt(ctx context.Context, t time.Time) (uint64, error)
	// Follow runs r until ctx ends and then returns nil once no call of r is under way. While
	// another instance reads under the same name it waits to take over. It returns early only
	// for a Reader that is not usable.
	Follow(ctx context.Context, r Reader) error
	// Floor returns up to which sequence the reader of that name has acknowledged; 0 if it does
	// not exist. It may lag behind what Handle finished, it is never ahead of it.
	Floor(ctx context.Context, reader string) (uint64, error)
	// Purge removes the messages with a sequence of upTo and below; sequences are never reused.
	// What is gone already is no error. Beyond Last it also makes upTo the Last: the log goes on behind it.
	Purge(ctx context.Context, upTo uint64) error
}

// Reader is a durable consumer of a whole Log, read by one instance at a time.
//
// On start and whenever an instance becomes the one that reads, the consumer is set to the
// Reader's position: Start()+1, or behind the ack floor where Start is nil. Messages at or below
// the position are dropped; at a hole the consumer is set back; a hole that a purge made is passed.
// The exclusion is no lock: an instance that was replaced may finish the run it holds while the
// next one works on the same messages, so what Handle does must be idempotent.
type Reader struct {
	// Name identifies the durable consumer: letters, digits, - and _.
	Name string
	// Start returns the sequence up to which everything is done for good. nil: the ack floor. An
	// error is retried like one of Handle.
	Start func(ctx context.Context) (uint64, error)
	// MaxBatch bounds a run; 0 means 256.
	MaxBatch int
	// Handle gets a contiguous run of 1 to MaxBatch messages that have arrived, never waiting for
	// more. nil: all of them are done, and acknowledged within about a second: a reader that dies leaves as much to the
	// next one again. An error: nothing moves, and the same run comes again, after Backoff. ctx ends with Follow's.
	Handle func(ctx context.Context, run []Message) error
	// Backoff is the wait after the first error of Handle or Start; it doubles up to MaxBackoff,
	// with jitter. 0 means 100 ms and 5 s.
	Backoff, MaxBackoff time.Duration
	// Failed, where set, hears of every error that is retried and which try in a row it was, so
	// that the owner may log it and raise an alarm. It must not block.
	Failed func(err error, try int)
}
