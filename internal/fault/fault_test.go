package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/oceanchat/oceanchat/internal/fault"
)

func TestHTTP(t *testing.T) {
	t.Parallel()
	tests := []struct {
		reason fault.Reason
		code   fault.Code
		http   int
		grpc   uint32
	}{
		{fault.InvalidFieldReason, fault.Invalid, http.StatusBadRequest, 3},
		{fault.TooLarge, fault.Invalid, http.StatusRequestEntityTooLarge, 3},
		{fault.UnknownMethod, fault.Unimplemented, http.StatusMethodNotAllowed, 12},
		{fault.NoRoute, fault.NotFound, http.StatusNotFound, 5},
		{fault.RateLimited, fault.ResourceExhausted, http.StatusTooManyRequests, 8},
		{fault.UsernameTaken, fault.AlreadyExists, http.StatusConflict, 6},
		{fault.OwnerMustTransfer, fault.FailedPrecondition, http.StatusBadRequest, 9},
		{fault.LogFull, fault.Unavailable, http.StatusServiceUnavailable, 14},
		{"NOT_IN_THE_LIST", fault.Internal, http.StatusInternalServerError, 13},
	}
	for _, tt := range tests {
		t.Run(string(tt.reason), func(t *testing.T) {
			t.Parallel()
			f := fault.New(tt.reason, "x")
			if f.Code != tt.code || f.HTTP() != tt.http || f.Code.GRPC() != tt.grpc {
				t.Errorf("New(%s) = %s, HTTP %d, gRPC %d; want %s, %d, %d",
					tt.reason, f.Code, f.HTTP(), f.Code.GRPC(), tt.code, tt.http, tt.grpc)
			}
			if got := fault.FromGRPC(f.Code.GRPC()); got != tt.code {
				t.Errorf("FromGRPC(%d) = %s; want %s", f.Code.GRPC(), got, tt.code)
			}
		})
	}
}

func TestOf(t *testing.T) {
	t.Parallel()
	muted := fault.New(fault.Muted, "muted")
	tests := []struct {
		name string
		err  error
		want fault.Reason
	}{
		{"a fault, wrapped", fmt.Errorf("send: %w", muted), fault.Muted},
		{"a foreign error is internal", io.ErrUnexpectedEOF, fault.InternalReason},
		{"a deadline leaves the outcome open", context.DeadlineExceeded, fault.OutcomeUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := fault.ReasonOf(tt.err); got != tt.want {
				t.Errorf("ReasonOf(%v) = %s; want %s", tt.err, got, tt.want)
			}
		})
	}
	if fault.Of(nil) != nil {
		t.Error("Of(nil) is not nil")
	}
	if !errors.Is(fmt.Errorf("x: %w", muted), fault.New(fault.Muted, "")) {
		t.Error("errors.Is does not match faults by reason")
	}
	if !errors.Is(fault.Wrap(io.EOF, fault.LogFull, "full"), io.EOF) {
		t.Error("Wrap hides its cause from errors.Is")
	}
}
