package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size of memory or disk, never negative. It is written as a whole number with or without a unit: 4096,
// 64KiB, 10GiB, or 1MB for powers of ten.
type Bytes int64

// The units from large to small; String takes the first one that leaves no remainder.
var units = []struct {
	name string
	size Bytes
}{
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"TB", 1e12},
	{"GB", 1e9},
	{"MB", 1e6},
	{"KB", 1e3},
	{"B", 1},
}

var errBytes = errors.New("want a size such as 4096, 64KiB or 10GiB")

// UnmarshalText sets b to the size that text says.
func (b *Bytes) UnmarshalText(text []byte) error {
	digits, size := string(text), Bytes(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(digits, u.name); ok {
			digits, size = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return errBytes
	}
	if n > uint64(math.MaxInt64/size) {
		return errors.New("the size is too large")
	}
	*b = Bytes(n) * size
	return nil
}

// MarshalText returns String's text.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// String returns the size in the largest unit that says it exactly, for example 10GiB.
func (b Bytes) String() string {
	for _, u := range units {
		if b != 0 && b%u.size == 0 && u.size > 1 {
			return strconv.FormatInt(int64(b/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}
