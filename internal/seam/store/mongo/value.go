package mongo

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/oceanchat/oceanchat/internal/chat"
)

// millis returns t as it is stored: a date, 1970 for the zero time.
func millis(t time.Time) bson.DateTime {
	if t.IsZero() {
		return 0
	}
	return bson.DateTime(t.UnixMilli())
}

// timeOf is the other way round.
func timeOf(d bson.DateTime) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(d)).UTC()
}

// count returns a counter as it is stored. MongoDB's numbers have a sign; no counter reaches it, and a bound of a range
// that does is above all stored ones.
func count(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// blob returns b for a field that is never null.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// Keys of documents are texts: parts joined by '/', which stands in no id and sorts before all that does but '-'. A
// range of the last part is then a range of keys, on the index that every collection has.

// maxSeq is the highest seq that a key can hold; a conversation that gets a million entries a second has it after 30 years.
const maxSeq = 999_999_999_999_999

// seqKey is the key of something at seq. Seqs that are too high are above all stored ones.
func seqKey(prefix string, seq uint64) string {
	return fmt.Sprintf("%s/%015d", prefix, min(seq, maxSeq+1))
}

// keySeq returns the seq in a key that seqKey made.
func keySeq(key string) (seq uint64, err error) {
	if len(key) < 15 {
		return 0, fmt.Errorf("stored key %q has no seq", key)
	}
	for _, d := range []byte(key[len(key)-15:]) {
		if d < '0' || d > '9' {
			return 0, fmt.Errorf("stored key %q has no seq", key)
		}
		seq = seq*10 + uint64(d-'0')
	}
	return seq, nil
}

// under selects the keys that begin with prefix and '/'.
func under(prefix string) bson.D {
	return bson.D{{Key: "$gte", Value: prefix + "/"}, {Key: "$lt", Value: prefix + "0"}} // '0' is next to '/'
}

// userKey is the key of what a user has of a conversation, or anything else with a name.
func userKey[T ~string](u chat.UserID, of T) string { return string(u) + "/" + string(of) }

// clock gives numbers that rise within this process and tell the time, in ns, to order what several processes store.
type clock struct{ last atomic.Int64 }

func (c *clock) next() int64 {
	for {
		last := c.last.Load()
		now := max(time.Now().UnixNano(), last+1)
		if c.last.CompareAndSwap(last, now) {
			return now
		}
	}
}
