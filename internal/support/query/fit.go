package query

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// maxAnswer bounds the JSON of a page's items, in bytes: with what stands around them they stay below the 4 MiB of a
// frame. Their protobuf is smaller.
const maxAnswer = 7 << 19

// fit returns as many of items as have at most budget bytes of JSON, but one at least: the last ones if newest, else
// the first.
func fit[M proto.Message](items []M, budget int, newest bool) ([]M, error) {
	for n := range items {
		i := n
		if newest {
			i = len(items) - 1 - n
		}
		size, err := sizeOf(items[i])
		if err != nil {
			return nil, err
		}
		if budget -= size; budget >= 0 || n == 0 {
			continue
		}
		if newest {
			return items[i+1:], nil
		}
		return items[:i], nil
	}
	return items, nil
}

// sizeOf returns how long m is in JSON. Of what is so small that a whole page fits anyhow it is a bound: a byte of text
// becomes at most six, and names and zeros come to it.
func sizeOf(m proto.Message) (int, error) {
	if most := 6*proto.Size(m) + 1024; most <= maxAnswer/2/(chat.MaxPage+1) {
		return most, nil
	}
	text, err := wire.MarshalJSON(m)
	if err != nil {
		return 0, fmt.Errorf("measure an answer: %w", err)
	}
	return len(text) + 1, nil
}
