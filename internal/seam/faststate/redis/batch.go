package redis

import (
	"fmt"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// byBucket sorts the indices of a batch by their user's bucket, in order, at most most per group.
func byBucket[T any](items []T, user func(T) chat.UserID, most int) (rounds [][]group) {
	var open [buckets]*group
	var full [buckets]int // groups that are full
	place := func(b int) {
		for len(rounds) <= full[b] {
			rounds = append(rounds, nil)
		}
		rounds[full[b]] = append(rounds[full[b]], *open[b])
		open[b] = nil
		full[b]++
	}
	for i, x := range items {
		b := bucketOf(user(x))
		if open[b] == nil {
			open[b] = &group{bucket: b}
		}
		if open[b].at = append(open[b].at, i); len(open[b].at) == most {
			place(b)
		}
	}
	for b, g := range open {
		if g != nil {
			place(b)
		}
	}
	return rounds
}

// group is the members of a batch that one script call treats.
type group struct {
	bucket int
	at     []int // indices of the batch
}

func userOf(c faststate.Conn) chat.UserID { return c.UserID }
func itself(u chat.UserID) chat.UserID    { return u }

// listOf returns a reply that is a list of n.
func listOf(reply any, n int) ([]any, error) {
	list, ok := reply.([]any)
	if !ok || len(list) != n {
		return nil, fmt.Errorf("redis: a reply of %T with %d members; want %d", reply, len(list), n)
	}
	return list, nil
}

// listsOf returns a reply that is a list of n lists.
func listsOf(reply any, n int) ([][]any, error) {
	list, err := listOf(reply, n)
	if err != nil {
		return nil, err
	}
	lists := make([][]any, n)
	for i, x := range list {
		var ok bool
		if lists[i], ok = x.([]any); !ok {
			return nil, fmt.Errorf("redis: a reply of %T inside a list; want a list", x)
		}
	}
	return lists, nil
}

// connsOf parses entries of a user.
func connsOf(u chat.UserID, entries []any) ([]faststate.Conn, error) {
	var conns []faststate.Conn
	for _, x := range entries {
		e, _ := x.(string)
		c, _, err := parseEntry(u, e)
		if err != nil {
			return nil, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}
