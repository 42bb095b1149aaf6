package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// What servers answer that callers or operators are told in words.
const (
	codeUnauthorized     = 13
	codeQuotaExceeded    = 12501
	codeOutOfDiskSpace   = 14031
	codeIndexOptions     = 85
	codeIndexKeySpecs    = 86
	codeCommandNotFound  = 59
	codeDuplicateKey     = 11000
	codeWriteConcernFail = 64 // wtimeout
)

// explain maps a foreign error to those of the seam, or returns it. It keeps the chain.
func explain(ctx context.Context, err error) error {
	var se mongo.ServerError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, mongo.ErrNoDocuments):
		return store.ErrNotFound
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	case !errors.As(err, &se):
		return err
	case se.HasErrorCode(codeOutOfDiskSpace) || se.HasErrorCode(codeQuotaExceeded):
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	case se.HasErrorCode(codeUnauthorized):
		return fmt.Errorf("the user of the connection string may not do this; give it the role readWrite: %w", err)
	case se.HasErrorCode(codeIndexOptions) || se.HasErrorCode(codeIndexKeySpecs):
		return fmt.Errorf("an index differs from the one this program needs; drop it and start again: %w", err)
	case se.HasErrorCode(codeWriteConcernFail):
		return fmt.Errorf("a majority did not confirm the write in time: %w", err)
	}
	return err
}

// onlyDuplicates splits err, of a bulk write: if all that failed are keys that exist already it returns those writes,
// else err.
func onlyDuplicates(err error) ([]mongo.BulkWriteError, error) {
	var be mongo.BulkWriteException
	if err == nil || !errors.As(err, &be) || be.WriteConcernError != nil || len(be.WriteErrors) == 0 {
		return nil, err
	}
	for _, we := range be.WriteErrors {
		if we.Code != codeDuplicateKey {
			return nil, err
		}
	}
	return be.WriteErrors, nil
}

// Away tells whether err, of Open, says that no server could be reached or none could be chosen, which may pass. Others
// are for an operator to mend.
func Away(err error) bool {
	var none topology.ServerSelectionError
	return mongo.IsNetworkError(err) || mongo.IsTimeout(err) || errors.As(err, &none) || errors.Is(err, context.DeadlineExceeded)
}
