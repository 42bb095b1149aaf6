package wire

import (
	"unicode/utf8"

	"github.com/oceanchat/oceanchat/internal/fault"
)

// maxDepth bounds how deep requests may be nested, as JSON and as protobuf.
const maxDepth = 32

// malformed is input that is not JSON, or JSON that no request is.
type malformed string

func (e malformed) Error() string { return string(e) }

const (
	errNotJSON   malformed = "not valid JSON"
	errNotUTF8   malformed = "not valid UTF-8"
	errTooDeep   malformed = "nested deeper than 32 levels"
	errDoubleKey malformed = "a member stands twice in one object"
	errNoObject  malformed = "not a JSON object"
)

// fault returns what a client is told.
func (e malformed) fault() *fault.Error { return fault.New(fault.Malformed, "%s", string(e)) }

// scanner reads JSON text whose UTF-8 was checked before. depth counts the objects and lists it is in; max is the most.
type scanner struct {
	data  []byte
	pos   int
	depth int
	max   int
}

// space skips white space and returns the next byte, or 0 at the end.
func (s *scanner) space() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// end checks that nothing but white space is left.
func (s *scanner) end() error {
	if s.space(); s.pos != len(s.data) {
		return errNotJSON
	}
	return nil
}

// open enters an object or list that starts here.
func (s *scanner) open() error {
	s.pos++
	s.depth++
	if s.depth > s.max {
		return errTooDeep
	}
	return nil
}

// more reports whether another element comes in the list or object that ends with end, and consumes what is between.
func (s *scanner) more(end byte, first bool) (bool, error) {
	c := s.space()
	if c == end {
		s.pos++
		s.depth--
		return false, nil
	}
	if first {
		return true, nil
	}
	if c != ',' {
		return false, errNotJSON
	}
	s.pos++
	return true, nil
}

// key reads the name of a member and the colon. The result may share memory with the input.
func (s *scanner) key() ([]byte, error) {
	if s.space() != '"' {
		return nil, errNotJSON
	}
	raw, escaped, err := s.quoted()
	if err != nil {
		return nil, err
	}
	if escaped {
		name, _ := unescape(raw) // one with lone surrogates is no known name
		raw = []byte(name)
	}
	if s.space() != ':' {
		return nil, errNotJSON
	}
	s.pos++
	return raw, nil
}

// number reads the number that starts here and returns its text.
func (s *scanner) number() ([]byte, error) {
	start := s.pos
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return nil, errNotJSON
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return nil, errNotJSON
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return nil, errNotJSON
		}
	}
	return s.data[start:s.pos], nil
}

// peek returns the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

// digits skips digits and reports whether there was one.
func (s *scanner) digits() bool {
	start := s.pos
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.pos++
	}
	return s.pos > start
}

// literal skips a word such as null.
func (s *scanner) literal(word string) error {
	if len(s.data)-s.pos < len(word) || string(s.data[s.pos:s.pos+len(word)]) != word {
		return errNotJSON
	}
	s.pos += len(word)
	return nil
}

// skip reads any value and returns its text without white space around.
func (s *scanner) skip() ([]byte, error) {
	c := s.space()
	start := s.pos
	err := s.skipFrom(c)
	if err != nil {
		return nil, err
	}
	return s.data[start:s.pos], nil
}

func (s *scanner) skipFrom(c byte) error {
	var err error
	switch c {
	case '{':
		err = s.skipObject()
	case '[':
		err = s.skipList()
	case '"':
		_, _, err = s.quoted()
	case 't':
		err = s.literal("true")
	case 'f':
		err = s.literal("false")
	case 'n':
		err = s.literal("null")
	default:
		_, err = s.number()
	}
	return err
}

func (s *scanner) skipObject() error {
	return s.members(func([]byte) error {
		return s.skipFrom(s.space())
	})
}

func (s *scanner) skipList() error {
	return s.elements(func(int) error {
		return s.skipFrom(s.space())
	})
}

// members reads the object that starts here and calls value at the start of each member's value.
func (s *scanner) members(value func(key []byte) error) error {
	if err := s.open(); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := s.more('}', first)
		if err != nil || !more {
			return err
		}
		key, err := s.key()
		if err != nil {
			return err
		}
		if err := value(key); err != nil {
			return err
		}
	}
}

// elements reads the list that starts here and calls value at the start of each element.
func (s *scanner) elements(value func(i int) error) error {
	if err := s.open(); err != nil {
		return err
	}
	for i := 0; ; i++ {
		more, err := s.more(']', i == 0)
		if err != nil || !more {
			return err
		}
		if err := value(i); err != nil {
			return err
		}
	}
}

// check reads data as one JSON value of at most max levels and returns what is wrong with it.
func check(data []byte, max int) error {
	if !utf8.Valid(data) {
		return errNotUTF8
	}
	s := scanner{data: data, max: max}
	if _, err := s.skip(); err != nil {
		return err
	}
	return s.end()
}
