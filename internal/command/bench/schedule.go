package bench

import "time"

// schedule is when messages are due: one stretch after another, each at its own rate.
type schedule []stretch

// stretch is a number of messages at one rate.
type stretch struct{ rate, count int }

func (s stretch) gap() time.Duration { return time.Second / time.Duration(s.rate) }

// count returns how many messages there are.
func (s schedule) count() (n int) {
	for _, one := range s {
		n += one.count
	}
	return n
}

// lasts returns when the last message was due, and its gap is over.
func (s schedule) lasts() (d time.Duration) {
	for _, one := range s {
		d += time.Duration(one.count) * one.gap()
	}
	return d
}

// due returns when message i is due, from the start.
func (s schedule) due(i int) (at time.Duration) {
	for _, one := range s {
		if i < one.count {
			return at + time.Duration(i)*one.gap()
		}
		at += time.Duration(one.count) * one.gap()
		i -= one.count
	}
	return at
}
