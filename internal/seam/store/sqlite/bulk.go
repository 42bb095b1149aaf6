package sqlite

import "strings"

// bulkRows are the numbers of rows that one statement inserts, descending. More than 64 gains nothing.
var bulkRows = [...]int{64, 8, 1}

// bulk inserts many rows with few statements.
type bulk struct {
	cols int
	sql  [len(bulkRows)]string
}

// newBulk returns a bulk for a statement such as "INSERT INTO t", of rows of cols values, followed by tail.
func newBulk(head string, cols int, tail string) bulk {
	b := bulk{cols: cols}
	values := "(" + strings.Repeat("?,", cols-1) + "?)"
	for i, n := range bulkRows {
		b.sql[i] = head + " VALUES " + strings.Repeat(values+",", n-1) + values + " " + tail
	}
	return b
}

// insert runs b for the values of all rows, one after the other.
func (b *bulk) insert(t *tx, args []any) error {
	for i, n := range bulkRows {
		for size := n * b.cols; len(args) >= size; args = args[size:] {
			if _, err := t.exec(b.sql[i], args[:size]...); err != nil {
				return err
			}
		}
	}
	return nil
}
