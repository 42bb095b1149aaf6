package convlog

import flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"

// recentBatches holds the decoded batches that are not stored, as many as fit; the oldest go first and are then read
// from the log. The fold's lock guards it.
type recentBatches struct {
	max, bytes int
	batches    map[uint64]recentBatch
	order      []uint64 // positions, ascending; may name batches that were dropped
}

type recentBatch struct {
	entries []*flowv1.LogEntry
	size    int
}

func newRecentBatches(maxBytes int) *recentBatches {
	return &recentBatches{max: maxBytes, batches: map[uint64]recentBatch{}}
}

func (r *recentBatches) put(position uint64, entries []*flowv1.LogEntry, size int) {
	r.batches[position] = recentBatch{entries, size}
	r.order = append(r.order, position)
	r.bytes += size
	for r.bytes > r.max && len(r.order) > 0 {
		r.drop(r.order[0])
	}
}

func (r *recentBatches) drop(position uint64) {
	if b, ok := r.batches[position]; ok {
		r.bytes -= b.size
		delete(r.batches, position)
	}
	for len(r.order) > 0 && r.order[0] <= position {
		r.order = r.order[1:]
	}
}
