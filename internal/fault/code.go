package fault

import "net/http"

// Code is the name of a gRPC status; it decides the HTTP status and the JSON-RPC number.
type Code string

// The codes that OceanChat uses.
const (
	OK                 Code = "OK"
	Invalid            Code = "INVALID_ARGUMENT"
	NotFound           Code = "NOT_FOUND"
	AlreadyExists      Code = "ALREADY_EXISTS"
	PermissionDenied   Code = "PERMISSION_DENIED"
	Unauthenticated    Code = "UNAUTHENTICATED"
	FailedPrecondition Code = "FAILED_PRECONDITION"
	ResourceExhausted  Code = "RESOURCE_EXHAUSTED"
	Unimplemented      Code = "UNIMPLEMENTED"
	Unavailable        Code = "UNAVAILABLE"
	Internal           Code = "INTERNAL"
)

type mapping struct {
	grpc uint32
	http int
}

// codes maps as grpc-gateway does; the numbers are those of google.golang.org/grpc/codes.
var codes = map[Code]mapping{
	OK:                 {0, http.StatusOK},
	Invalid:            {3, http.StatusBadRequest},
	NotFound:           {5, http.StatusNotFound},
	AlreadyExists:      {6, http.StatusConflict},
	PermissionDenied:   {7, http.StatusForbidden},
	ResourceExhausted:  {8, http.StatusTooManyRequests},
	FailedPrecondition: {9, http.StatusBadRequest},
	Unimplemented:      {12, http.StatusNotImplemented},
	Internal:           {13, http.StatusInternalServerError},
	Unavailable:        {14, http.StatusServiceUnavailable},
	Unauthenticated:    {16, http.StatusUnauthorized},
}

// GRPC returns the number of the gRPC status; an unknown code is INTERNAL.
func (c Code) GRPC() uint32 {
	if m, ok := codes[c]; ok {
		return m.grpc
	}
	return codes[Internal].grpc
}

// FromGRPC returns the code of a gRPC status number; one that is not in use is INTERNAL.
func FromGRPC(n uint32) Code {
	for c, m := range codes {
		if m.grpc == n {
			return c
		}
	}
	return Internal
}

// HTTP returns the HTTP status of e: its code's, but 413 for TOO_LARGE and 405 for UNKNOWN_METHOD.
func (e *Error) HTTP() int {
	switch e.Reason {
	case TooLarge:
		return http.StatusRequestEntityTooLarge
	case UnknownMethod:
		return http.StatusMethodNotAllowed
	default:
	}
	if m, ok := codes[e.Code]; ok {
		return m.http
	}
	return http.StatusInternalServerError
}

// Reason is a stable, machine-readable cause. The list is append-only and no reason changes its meaning.
type Reason string

// The reasons of the public contract.
const (
	InvalidFieldReason Reason = "INVALID_FIELD"
	Malformed          Reason = "MALFORMED"
	TooLarge           Reason = "TOO_LARGE"
	UnknownMethod      Reason = "UNKNOWN_METHOD"
	NoRoute            Reason = "NO_ROUTE"
	NotFoundReason     Reason = "NOT_FOUND"
	NotAllowed         Reason = "NOT_ALLOWED"
	NotMember          Reason = "NOT_MEMBER"
	RoleTooLow         Reason = "ROLE_TOO_LOW"
	Muted              Reason = "MUTED"
	BadCredentials     Reason = "BAD_CREDENTIALS"
	TokenMissing       Reason = "TOKEN_MISSING"
	TokenInvalid       Reason = "TOKEN_INVALID"
	TokenExpired       Reason = "TOKEN_EXPIRED"
	SessionEnded       Reason = "SESSION_ENDED"
	RefreshReused      Reason = "REFRESH_REUSED"
	UsernameTaken      Reason = "USERNAME_TAKEN"
	ClientMsgIDReused  Reason = "CLIENT_MSG_ID_REUSED"
	OwnerMustTransfer  Reason = "OWNER_MUST_TRANSFER"
	TooLate            Reason = "TOO_LATE"
	RateLimited        Reason = "RATE_LIMITED"
	LimitReached       Reason = "LIMIT_REACHED"
	OutcomeUnknown     Reason = "OUTCOME_UNKNOWN"
	Overloaded         Reason = "OVERLOADED"
	LogFull            Reason = "LOG_FULL"
	SessionStoreDown   Reason = "SESSION_STORE_DOWN"
	InternalReason     Reason = "INTERNAL"
)

var reasons = map[Reason]Code{
	InvalidFieldReason: Invalid, Malformed: Invalid, TooLarge: Invalid,
	UnknownMethod: Unimplemented,
	NoRoute:       NotFound, NotFoundReason: NotFound,
	NotAllowed: PermissionDenied, NotMember: PermissionDenied, RoleTooLow: PermissionDenied, Muted: PermissionDenied,
	BadCredentials: Unauthenticated, TokenMissing: Unauthenticated, TokenInvalid: Unauthenticated,
	TokenExpired: Unauthenticated, SessionEnded: Unauthenticated, RefreshReused: Unauthenticated,
	UsernameTaken: AlreadyExists, ClientMsgIDReused: AlreadyExists,
	OwnerMustTransfer: FailedPrecondition, TooLate: FailedPrecondition,
	RateLimited: ResourceExhausted, LimitReached: ResourceExhausted,
	OutcomeUnknown: Unavailable, Overloaded: Unavailable, LogFull: Unavailable, SessionStoreDown: Unavailable,
	InternalReason: Internal,
}

// Code returns the code that belongs to r; an unknown reason is INTERNAL.
func (r Reason) Code() Code {
	if c, ok := reasons[r]; ok {
		return c
	}
	return Internal
}
