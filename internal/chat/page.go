package chat

import "github.com/oceanchat/oceanchat/internal/fault"

// The sizes of a page of a list.
const (
	DefaultPage = 50
	MaxPage     = 100
)

// PageSize returns the size of a page from the request's optional field: DefaultPage when absent, at most MaxPage;
// below 1 is INVALID_FIELD naming field.
func PageSize(field string, asked *int32) (int, error) {
	switch {
	case asked == nil:
		return DefaultPage, nil
	case *asked < 1:
		return 0, fault.InvalidField(field, "a whole number from 1")
	}
	return min(int(*asked), MaxPage), nil
}
