package obs

import "context"

type requestKey struct{}

// WithRequest returns a context of the request named id. Services use the functions of the calls seam, which carries
// the id from one to the next; this is for what lies below the seams.
func WithRequest(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestKey{}, id)
}

// RequestOf returns the id of the request that ctx serves, or "".
func RequestOf(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}
