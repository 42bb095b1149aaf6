// Package media is the seam for blobs: what users upload. It knows bytes and ids, never who may read them; message
// decides that.
package media

import (
	"context"
	"io"
	"time"
)

// Info describes a blob.
type Info struct {
	Size    int64 // bytes
	Created time.Time
}

// Blobs keeps blobs by id. An id matches the rule of chat.ValidID, else INVALID_FIELD; whoever stores a blob chooses an
// id that no one else chooses, such as chat.NewID.
// Implementations are safe for concurrent use.
type Blobs interface {
	// Put stores size bytes of r under id. It is atomic and durable: when it returns nil, the blob is there as a whole
	// and survives power loss; otherwise nothing is. A source that ends early or goes on after size is INVALID_FIELD for
	// "size". A blob that is there already is replaced, and who reads it goes on reading the old one. OUTCOME_UNKNOWN says
	// that a store over a network did not answer: the blob may be there, and to put the same again is harmless.
	Put(ctx context.Context, id string, r io.Reader, size int64) error
	// Open returns a reader of the blob, which the caller closes, or NOT_FOUND. ctx bounds Open, not the reader. A large blob
	// of a store without versions that is replaced or deleted meanwhile may fail to be read on, with OVERLOADED or
	// NOT_FOUND; old and new are never mixed.
	Open(ctx context.Context, id string) (io.ReadSeekCloser, Info, error)
	// Delete removes a blob; one that is not there is no error.
	Delete(ctx context.Context, id string) error
}
