package journey

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"
)

// Events are kept as bytes, not as values with strings: a collection of garbage then passes over them, however many
// there are, and nothing of a request is kept alive by its ids. A shard has two generations; when the young one is full
// it becomes the old one, whose bytes serve again. So between half and all of the bound is remembered.

const (
	shardCount = 16
	maxString  = 255 // bytes of an id or a detail; longer ones are cut, and no id is
	headSize   = 2 + 8 + 1 + 4
)

// shard is a part of the memory.
type shard struct {
	mu    sync.Mutex // guards all below but most
	young generation
	old   generation
	since int64 // everything from then on is remembered
	most  int   // events of a generation

	_ [24]byte // two shards do not share a cache line
}

// generation is records one behind the other: two bytes of length, eight of time, one of stage, four of count, and six
// strings with one byte of length each, the message's id first.
type generation struct {
	data  []byte
	count int
	first int64 // when its first event was
}

func (s *shard) add(e *Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young.count >= s.most {
		if s.old.count > 0 {
			s.since = s.young.first
		}
		s.young, s.old = generation{data: s.old.data[:0]}, s.young
	}
	g := &s.young
	when := e.When.UnixNano()
	if g.count == 0 {
		g.first = when
	}
	g.count++
	g.data = encode(g.data, when, e)
}

// encode appends e. It finds out the size first, so that the bytes are grown and checked once.
func encode(b []byte, when int64, e *Event) []byte {
	strings := [...]string{e.Message, e.User, e.Device, e.Via, e.Connection, e.Detail}
	size := headSize + len(strings)
	for i := range strings {
		if len(strings[i]) > maxString {
			strings[i] = strings[i][:maxString]
		}
		size += len(strings[i])
	}
	at := len(b)
	b = slices.Grow(b, size)[:at+size]
	r := b[at:]
	binary.LittleEndian.PutUint16(r, uint16(size))
	binary.LittleEndian.PutUint64(r[2:], uint64(when))
	r[10] = byte(e.Stage)
	binary.LittleEndian.PutUint32(r[11:], uint32(min(max(0, e.Count), 1<<31-1)))
	r = r[headSize:]
	for _, s := range strings {
		r[0] = byte(len(s))
		r = r[1+copy(r[1:], s):]
	}
	return b
}

func (s *shard) find(message string) (events []Event, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.young.find(s.old.find(nil, message), message), time.Unix(0, s.since)
}

func (g *generation) find(events []Event, message string) []Event {
	for b := g.data; len(b) > 0; {
		size := int(binary.LittleEndian.Uint16(b))
		if n := int(b[headSize]); string(b[headSize+1:headSize+1+n]) == message {
			events = append(events, decode(b[:size]))
		}
		b = b[size:]
	}
	return events
}

func decode(b []byte) Event {
	e := Event{
		When:  time.Unix(0, int64(binary.LittleEndian.Uint64(b[2:]))),
		Stage: Stage(b[10]),
		Count: int(binary.LittleEndian.Uint32(b[11:])),
	}
	b = b[headSize:]
	for _, s := range []*string{&e.Message, &e.User, &e.Device, &e.Via, &e.Connection, &e.Detail} {
		n := int(b[0])
		*s, b = string(b[1:1+n]), b[1+n:]
	}
	return e
}
