package sqlite

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// millis returns t as it is stored: milliseconds since 1970, 0 for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// timeOf is the other way round.
func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// stamp scans a stored time.
type stamp struct{ t *time.Time }

// Scan implements sql.Scanner.
func (s stamp) Scan(v any) error {
	ms, ok := v.(int64)
	if !ok {
		return fmt.Errorf("stored time is a %T", v)
	}
	*s.t = timeOf(ms)
	return nil
}

// count returns a counter as it is stored. database/sql refuses numbers above 2^63-1, which no counter reaches; a bound
// of a range may be any number, and this one is above all stored ones.
func count(n uint64) int64 {
	if n > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(n)
}

// counter scans a counter without the detour over text that database/sql takes for unsigned numbers.
type counter struct{ n *uint64 }

// Scan implements sql.Scanner.
func (c counter) Scan(v any) error {
	n, ok := v.(int64)
	if !ok || n < 0 {
		return fmt.Errorf("stored counter is %v", v)
	}
	*c.n = uint64(n)
	return nil
}

// blob returns b for a column that is never NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// jsonOf returns v as JSON text: for lists of arguments, which json_each unfolds, so that one prepared statement serves
// all lengths, and for small lists within a row.
func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil { // not for the strings and numbers that come here
		return "null"
	}
	return string(b)
}

// jsonText scans what jsonOf made.
type jsonText struct{ v any }

// Scan implements sql.Scanner.
func (j jsonText) Scan(v any) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("stored list is a %T", v)
	}
	return json.Unmarshal([]byte(s), j.v)
}
