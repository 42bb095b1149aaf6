package store

import "slices"

// Range is a run of seqs, both ends included.
type Range struct{ From, To uint64 }

// Ranges are sorted, disjoint and not adjacent: the seqs that are held of one conversation. The methods leave their
// receiver as it is and return a new value. The zero value holds nothing.
type Ranges []Range

// Has reports whether seq is held.
func (r Ranges) Has(seq uint64) bool { return r.EndOf(seq) != 0 }

// EndOf returns the last seq of the range that seq is in, or 0.
func (r Ranges) EndOf(seq uint64) uint64 {
	i, found := slices.BinarySearchFunc(r, seq, func(x Range, seq uint64) int {
		switch {
		case x.To < seq:
			return -1
		case x.From > seq:
			return 1
		}
		return 0
	})
	if !found {
		return 0
	}
	return r[i].To
}

// Next returns the first seq above after that is held, or 0.
func (r Ranges) Next(after uint64) uint64 {
	for _, x := range r {
		if x.To > after {
			return max(x.From, after+1)
		}
	}
	return 0
}

// Add returns r with the seqs from to to, both included.
func (r Ranges) Add(from, to uint64) Ranges {
	if from == 0 || from > to {
		return r
	}
	out := make(Ranges, 0, len(r)+1)
	placed := false
	for _, x := range r {
		switch {
		case x.To+1 < from:
			out = append(out, x)
		case to+1 < x.From:
			if !placed {
				out, placed = append(out, Range{from, to}), true
			}
			out = append(out, x)
		default: // overlaps or touches
			from, to = min(from, x.From), max(to, x.To)
		}
	}
	if !placed {
		out = append(out, Range{from, to})
	}
	return out
}

// Truncate returns r without the seqs above last.
func (r Ranges) Truncate(last uint64) Ranges { return r.clip(1, last) }

// Forget returns r without the seqs below first.
func (r Ranges) Forget(first uint64) Ranges { return r.clip(first, ^uint64(0)) }

func (r Ranges) clip(first, last uint64) Ranges {
	var out Ranges
	for _, x := range r {
		if x.From, x.To = max(x.From, first), min(x.To, last); x.From <= x.To {
			out = append(out, x)
		}
	}
	return out
}

// Len returns how many seqs are held.
func (r Ranges) Len() uint64 {
	var n uint64
	for _, x := range r {
		n += x.To - x.From + 1
	}
	return n
}
