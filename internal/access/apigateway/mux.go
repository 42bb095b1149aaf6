package apigateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	pushv1 "github.com/oceanchat/oceanchat/gen/oceanchat/push/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// newMux binds all methods by their annotations. APIGW-1.
func (s *Service) newMux() (*runtime.ServeMux, error) {
	installQueryParser()
	none := func(string) (string, bool) { return "", false }
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, codec{}),
		runtime.WithErrorHandler(s.callFailed),
		runtime.WithRoutingErrorHandler(s.notRouted),
		runtime.WithMiddlewares(s.admit),
		runtime.WithIncomingHeaderMatcher(none),
		runtime.WithOutgoingHeaderMatcher(none),
		runtime.WithOutgoingTrailerMatcher(none),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
		// Ids may come with every character escaped, as d%7Ea%7Eb.
		runtime.WithUnescapingMode(runtime.UnescapingModeAllCharacters),
		runtime.WithWriteContentLength(),
	)
	ctx, net := context.Background(), s.deps.Net
	return mux, errors.Join(
		authv1.RegisterAuthServiceHandlerClient(ctx, mux, authv1.NewAuthServiceClient(net)),
		userv1.RegisterUserServiceHandlerClient(ctx, mux, userv1.NewUserServiceClient(net)),
		groupv1.RegisterGroupServiceHandlerClient(ctx, mux, groupv1.NewGroupServiceClient(net)),
		messagev1.RegisterMessageServiceHandlerClient(ctx, mux, messagev1.NewMessageServiceClient(net)),
		queryv1.RegisterQueryServiceHandlerClient(ctx, mux, queryv1.NewQueryServiceClient(net)),
		presencev1.RegisterPresenceServiceHandlerClient(ctx, mux, presencev1.NewPresenceServiceClient(net)),
		pushv1.RegisterPushServiceHandlerClient(ctx, mux, pushv1.NewPushServiceClient(net)),
	)
}

// codec is the contract's JSON as the mux wants it, whatever the request says of its type.
type codec struct{}

var _ runtime.Marshaler = codec{}

// ContentType implements runtime.Marshaler.
func (codec) ContentType(any) string { return contentJSON }

// Marshal implements runtime.Marshaler.
func (codec) Marshal(v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("encode a %T: want a protobuf message", v)
	}
	return wire.MarshalJSON(m)
}

// Unmarshal implements runtime.Marshaler. An empty body is an empty object.
func (codec) Unmarshal(data []byte, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("decode a %T: want a protobuf message", v)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	return carry(wire.UnmarshalJSON(data, m))
}

// NewDecoder implements runtime.Marshaler. r is bounded by admit.
func (c codec) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		return c.Unmarshal(data, v)
	})
}

// NewEncoder implements runtime.Marshaler.
func (c codec) NewEncoder(w io.Writer) runtime.Encoder {
	return runtime.EncoderFunc(func(v any) error {
		data, err := c.Marshal(v)
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	})
}

// installQueryParser sets the parser, which the library keeps in a variable of its package for all muxes: once, so that
// a second gateway does not write it while the first one reads.
var installQueryParser = sync.OnceFunc(func() { runtime.SetQueryParameterParser(queryParser{})(nil) })

// queryParser reads query strings by the contract's rules.
type queryParser struct{}

// Parse implements runtime.QueryParameterParser. What the path has decided (filter) the query cannot change.
func (queryParser) Parse(m proto.Message, values url.Values, filter *utilities.DoubleArray) error {
	fields := m.ProtoReflect().Descriptor().Fields()
	rest := url.Values{}
	for name, v := range values {
		first, _, _ := strings.Cut(name, ".")
		if f := fields.ByJSONName(first); f == nil || !bound(f, filter) {
			rest[name] = v
		}
	}
	return carry(wire.DecodeQuery(m, rest))
}

func bound(f protoreflect.FieldDescriptor, filter *utilities.DoubleArray) bool {
	return filter.HasCommonPrefix([]string{string(f.Name())})
}

// Generated handlers turn errors of decoding into a status and keep only their text. So a fault travels as text behind
// a mark that no other error begins with.
const carryMark = "\x00fault\x00"

// carried is a fault as it survives being made a text.
type carried struct {
	Reason  fault.Reason
	Message string
	Fields  []fault.Field
	Cause   string
}

// carry returns err as an error whose text tells all of its fault.
func carry(err error) error {
	if err == nil {
		return nil
	}
	f := fault.Of(err)
	c := carried{f.Reason, f.Msg, f.Fields, ""}
	if f.Err != nil {
		c.Cause = f.Err.Error()
	}
	text, jerr := json.Marshal(c)
	if jerr != nil { // strings only: cannot fail
		return err
	}
	return errors.New(carryMark + string(text))
}

// uncarry returns the fault in a text that carry made, or nil.
func uncarry(text string) *fault.Error {
	text, ok := strings.CutPrefix(text, carryMark)
	var c carried
	if !ok || json.Unmarshal([]byte(text), &c) != nil {
		return nil
	}
	f := fault.New(c.Reason, "%s", c.Message)
	f.Fields = c.Fields
	if c.Cause != "" {
		f.Err = errors.New(c.Cause)
	}
	return f
}

// callFailed is the mux's error handler: for errors of services and of generated handlers.
func (s *Service) callFailed(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	s.refuse(w, r, faultOf(err))
}

func faultOf(err error) error {
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		return f
	}
	if e := (*runtime.HTTPStatusError)(nil); errors.As(err, &e) { // a broken escape in the path
		return fault.Wrap(err, fault.Malformed, "the path cannot be read")
	}
	st, ok := status.FromError(err)
	if !ok || st.Code() != codes.InvalidArgument {
		return err
	}
	if f := uncarry(st.Message()); f != nil {
		return f
	}
	// Bodies are read before; what is left is a query string with a broken escape.
	return fault.Wrap(err, fault.Malformed, "the query string cannot be read")
}

// notRouted is the mux's handler for paths and verbs that are not there.
func (s *Service) notRouted(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, _ int) {
	if verbs := s.routes.verbs(r); len(verbs) > 0 {
		s.wrongVerb(w, r, verbs)
		return
	}
	s.refuse(w, r, fault.New(fault.NoRoute, "no such path"))
}
