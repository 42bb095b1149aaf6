package wire

import (
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// The numbers that JSON-RPC has for broken envelopes; other errors carry the number of their gRPC status.
const (
	NumberNotJSON       = -32700
	NumberNotRPC        = -32600
	NumberUnknownMethod = -32601
	NumberBadParams     = -32602
)

const (
	maxLane   = 3
	maxIDLen  = 64 // code points of an id that is a string
	numberMax = math.MaxUint32
)

// ID is a request's id: absent, a number or a string. It is comparable; the zero ID is absent.
type ID struct {
	kind   idKind
	number uint32
	text   string
}

type idKind int8

const (
	idAbsent idKind = iota
	idNumber
	idText
)

// NumberID returns the id that is the number n.
func NumberID(n uint32) ID { return ID{kind: idNumber, number: n} }

// TextID returns the id that is a string.
func TextID(s string) ID { return ID{kind: idText, text: s} }

// Present reports whether the request has an id, and so gets an answer.
func (id ID) Present() bool { return id.kind != idAbsent }

// String returns id as it stands in JSON.
func (id ID) String() string { return string(id.append(nil)) }

func (id ID) append(dst []byte) []byte {
	switch id.kind {
	case idNumber:
		return strconv.AppendUint(dst, uint64(id.number), 10)
	case idText:
		return appendString(dst, id.text)
	default:
		return append(dst, "null"...)
	}
}

// Request is the envelope of a client's packet.
type Request struct {
	ID     ID
	Lane   int // 0 to 3
	Method string
	Params []byte // as they came, in the packet's form; may share its memory
}

// EnvelopeError says what is wrong with a packet's envelope.
type EnvelopeError struct {
	Number int // of JSON-RPC
	ID     ID  // absent if the request has none or it is not known
	Fault  *fault.Error
}

// Error returns the fault's text.
func (e *EnvelopeError) Error() string { return e.Fault.Error() }

// Unwrap returns the fault.
func (e *EnvelopeError) Unwrap() error { return e.Fault }

// Answered reports whether the client gets the error: what is no request gets it without an id too, a request that asked
// for no answer does not.
func (e *EnvelopeError) Answered() bool { return e.ID.Present() || e.Breaks() }

// Breaks reports whether the packet is no request at all; the tenth in a minute closes the connection with 4004.
func (e *EnvelopeError) Breaks() bool { return e.Number == NumberNotJSON || e.Number == NumberNotRPC }

// ParseEnvelope reads the envelope of a JSON-RPC request. It checks that all of data is JSON, but does not decode params.
// Errors are *EnvelopeError.
func ParseEnvelope(data []byte) (Request, error) {
	if !utf8.Valid(data) {
		return Request{}, &EnvelopeError{Number: NumberNotJSON, Fault: errNotUTF8.fault()}
	}
	var e envelope
	s := scanner{data: data, max: maxDepth + 1} // params may be as deep as any request
	if err := e.read(&s); err != nil {
		return Request{}, brokenEnvelope(err)
	}
	return e.request()
}

func brokenEnvelope(err error) error {
	bad, ok := err.(malformed) //nolint:errorlint // the scanner wraps nothing
	if !ok {
		bad = errNotJSON
	}
	number := NumberNotRPC
	if bad == errNotJSON {
		number = NumberNotJSON
	}
	return &EnvelopeError{Number: number, Fault: bad.fault()}
}

// envelope holds the raw members of a request; nil stands for absent.
type envelope struct {
	version, id, lane, method, params []byte
}

const errNoRequest malformed = "not a JSON-RPC 2.0 request: one object with \"jsonrpc\":\"2.0\" and a method; batches are not taken"

func (e *envelope) read(s *scanner) error {
	if s.space() != '{' {
		if _, err := s.skip(); err != nil {
			return err
		}
		if err := s.end(); err != nil {
			return err
		}
		return errNoRequest
	}
	doubled := false
	err := s.members(func(key []byte) error {
		raw, err := s.skip()
		if err != nil {
			return err
		}
		slot := e.member(key)
		if slot == nil {
			return nil
		}
		doubled = doubled || *slot != nil
		*slot = raw
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.end(); err != nil {
		return err
	}
	if doubled {
		return errDoubleKey
	}
	return nil
}

// member returns where the member named key is kept, or nil.
func (e *envelope) member(key []byte) *[]byte {
	switch string(key) {
	case "jsonrpc":
		return &e.version
	case "id":
		return &e.id
	case "lane":
		return &e.lane
	case "method":
		return &e.method
	case "params":
		return &e.params
	}
	return nil
}

// request checks the members. The id comes first, so that every later error can name it.
func (e *envelope) request() (Request, error) {
	var r Request
	var ok bool
	if r.ID, ok = parseID(e.id); !ok {
		return r, notRPC(ID{}, fault.InvalidField("id", "a whole number from 0 to 4294967295, or a string of at most 64"))
	}
	version, ok := parseText(e.version)
	if !ok || version != "2.0" {
		return r, notRPC(r.ID, errNoRequest.fault())
	}
	if r.Method, ok = parseText(e.method); !ok || r.Method == "" {
		return r, notRPC(r.ID, fault.InvalidField("method", "the name of a method"))
	}
	if r.Lane, ok = parseLane(e.lane); !ok {
		return r, notRPC(r.ID, fault.InvalidField("lane", "a whole number from 0 to 3"))
	}
	if e.params == nil {
		e.params = []byte("{}")
	}
	if e.params[0] != '{' {
		f := fault.New(fault.Malformed, "params: an object is needed")
		return r, &EnvelopeError{Number: NumberBadParams, ID: r.ID, Fault: f}
	}
	r.Params = e.params
	return r, nil
}

func notRPC(id ID, f *fault.Error) error {
	return &EnvelopeError{Number: NumberNotRPC, ID: id, Fault: f}
}

// parseText reads a raw string of JSON.
func parseText(raw []byte) (string, bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	inner := raw[1 : len(raw)-1]
	if slices.Contains(inner, '\\') {
		return unescape(inner)
	}
	return string(inner), true
}

// parseNumber reads a raw number of JSON that is whole and at most most.
func parseNumber(raw []byte, most uint64) (uint64, bool) {
	if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return 0, false
	}
	negative, n, err := whole(string(raw))
	return n, err == nil && !negative && n <= most
}

func parseID(raw []byte) (ID, bool) {
	if raw == nil {
		return ID{}, true
	}
	if raw[0] == '"' {
		s, ok := parseText(raw)
		return TextID(s), ok && utf8.RuneCountInString(s) <= maxIDLen
	}
	n, ok := parseNumber(raw, numberMax)
	return NumberID(uint32(n)), ok
}

func parseLane(raw []byte) (int, bool) {
	if raw == nil || raw[0] == 'n' {
		return 0, true
	}
	n, ok := parseNumber(raw, maxLane)
	return int(n), ok // at most 3
}

// AppendResult appends the answer to request id. result is JSON.
func AppendResult(dst []byte, id ID, result []byte) []byte {
	dst = append(dst, `{"jsonrpc":"2.0","id":`...)
	dst = append(id.append(dst), `,"result":`...)
	return append(append(dst, result...), '}')
}

// AppendError appends the answer to request id, which is null where there is none.
func AppendError(dst []byte, id ID, e *wirev1.Error, number int) []byte {
	dst = append(dst, `{"jsonrpc":"2.0","id":`...)
	dst = append(id.append(dst), `,"error":{"code":`...)
	dst = strconv.AppendInt(dst, int64(number), 10)
	dst = append(dst, `,"message":`...)
	dst = append(appendString(dst, e.GetMessage()), `,"data":`...)
	dst, _ = AppendJSON(dst, e) // it has nothing that could fail
	return append(dst, "}}"...)
}

// AppendPush appends a notification. params is JSON.
func AppendPush(dst []byte, method string, params []byte) []byte {
	dst = append(dst, `{"jsonrpc":"2.0","method":`...)
	dst = append(appendString(dst, method), `,"params":`...)
	return append(append(dst, params...), '}')
}

func appendEntryPush(dst []byte, n uint64, entry []byte) []byte {
	dst = append(dst, `{"jsonrpc":"2.0","method":"entry","params":{"n":`...)
	dst = strconv.AppendUint(dst, n, 10)
	dst = append(dst, `,"entry":`...)
	return append(append(dst, entry...), "}}"...)
}
