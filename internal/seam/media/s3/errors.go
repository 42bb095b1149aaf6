package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/minio/minio-go/v7"

	"github.com/oceanchat/oceanchat/internal/fault"
)

// codeOf returns the code of what the store answered, "" if it did not.
func codeOf(err error) string {
	a, _ := answer(err)
	return a.Code
}

// answer returns what the store said, if it did.
func answer(err error) (minio.ErrorResponse, bool) {
	var a minio.ErrorResponse
	return a, errors.As(err, &a)
}

// unsettled tells whether a request that was sent whole and failed with err may have been carried out all the same.
func unsettled(err error) bool {
	a, ok := answer(err)
	return !ok || a.StatusCode >= http.StatusInternalServerError && a.StatusCode != http.StatusServiceUnavailable
}

// passing tells whether err, of the driver, may be another one or none the next time.
func passing(err error) bool {
	a, ok := answer(err)
	return !ok || a.StatusCode >= http.StatusInternalServerError || a.StatusCode == http.StatusTooManyRequests ||
		a.StatusCode == http.StatusRequestTimeout || a.Code == "RequestTimeout" || a.Code == "SlowDown"
}

// explain maps a foreign error to those of the seam: NOT_FOUND; OVERLOADED for what may pass; else an error that only
// an operator can mend (keys, rights, bucket), which clients see as INTERNAL. ctx is the caller's.
func explain(ctx context.Context, what, id string, err error) error {
	if err == nil {
		return nil
	}
	if _, known := errors.AsType[*fault.Error](err); known {
		return err
	}
	if e := ctx.Err(); e != nil {
		return fmt.Errorf("%s blob %s: %w", what, id, e)
	}
	a, _ := answer(err)
	away := passing(err)
	err = fmt.Errorf("s3: %s blob %s: %w", what, id, err)
	switch {
	case a.Code == minio.NoSuchKey, a.Code == minio.NoSuchVersion:
		return fault.New(fault.NotFoundReason, "no media %s", id)
	case a.StatusCode == http.StatusPreconditionFailed:
		return fault.Wrap(err, fault.Overloaded, "the media was replaced while it was read; read it again").After(retryAfter)
	case away:
		return fault.Wrap(err, fault.Overloaded, "the media store does not answer").After(retryAfter)
	}
	if a.Code != "" {
		return fmt.Errorf("%w (%s)", err, a.Code)
	}
	return err
}
