package wire

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/oceanchat/oceanchat/internal/fault"
)

// UnmarshalJSON reads a request into m, whose fields are reset first. Names are lowerCamel only; unknown ones are
// ignored. null leaves a field unset, but an optional one in the request of a PATCH is then present with its zero value: null
// clears. Errors are faults: INVALID_FIELD with the field's path and the rule it broke, MALFORMED for what is not one JSON
// object of at most 32 levels without doubled members. After an error the content of m means nothing.
func UnmarshalJSON(data []byte, m proto.Message) error {
	return unmarshal(data, m, false)
}

// UnmarshalAnswer reads what AppendJSON wrote, as a client of the contract does: null is always unset, and an enum's word
// that is not known is read as the zero value. A message read back equals the one written, up to the fineness of times.
func UnmarshalAnswer(data []byte, m proto.Message) error {
	return unmarshal(data, m, true)
}

func unmarshal(data []byte, m proto.Message, answer bool) error {
	proto.Reset(m)
	if !utf8.Valid(data) {
		return errNotUTF8.fault()
	}
	d := decoder{scanner: scanner{data: data, max: maxDepth}, answer: answer}
	err := d.top(m.ProtoReflect())
	if err == nil {
		return nil
	}
	// A broken rule counts only in what is JSON to its end.
	if bad := check(data, maxDepth); bad != nil {
		err = bad
	}
	var bad malformed
	if errors.As(err, &bad) {
		return bad.fault()
	}
	var b *broken
	if errors.As(err, &b) {
		return fault.InvalidField(b.path, b.rule)
	}
	return fault.Wrap(err, fault.InternalReason, "decode %s", m.ProtoReflect().Descriptor().Name())
}

// broken is a rule that a field broke. The path grows on the way up.
type broken struct{ path, rule string }

func (e *broken) Error() string { return e.path + ": " + e.rule }

// within puts name before the path of a broken rule.
func within(err error, name string) error {
	if b, ok := err.(*broken); ok { //nolint:errorlint // made here and never wrapped
		switch {
		case b.path == "":
			b.path = name
		case b.path[0] == '[':
			b.path = name + b.path
		default:
			b.path = name + "." + b.path
		}
	}
	return err
}

type decoder struct {
	scanner
	answer bool
}

func (d *decoder) top(m protoreflect.Message) error {
	p := planOf(m.Descriptor())
	start := byte('{')
	if p.shape == plainList {
		start = '['
	}
	if d.space() != start || p.shape == timestamp {
		return errNoObject
	}
	if err := d.message(p, m); err != nil {
		return err
	}
	return d.end()
}

// message reads the value that starts here into m.
func (d *decoder) message(p *plan, m protoreflect.Message) error {
	switch p.shape {
	case timestamp:
		return d.timestamp(m)
	case plainList:
		return d.list(p.list, m)
	case object:
	}
	if d.space() != '{' {
		return &broken{rule: "an object"}
	}
	var seen bitset
	return d.members(func(key []byte) error {
		f := p.byName[string(key)]
		if f == nil {
			return d.skipFrom(d.space())
		}
		if seen.add(f.index) {
			return errDoubleKey
		}
		return within(d.field(f, m), f.name)
	})
}

// bitset holds small numbers; messages have few fields.
type bitset struct {
	low  uint64
	high map[int]bool
}

// add puts i in and reports whether it was there.
func (b *bitset) add(i int) bool {
	if i < 64 {
		was := b.low&(1<<i) != 0
		b.low |= 1 << i
		return was
	}
	if b.high == nil {
		b.high = map[int]bool{}
	}
	was := b.high[i]
	b.high[i] = true
	return was
}

// field reads the value of f that starts here into m.
func (d *decoder) field(f *field, m protoreflect.Message) error {
	if d.space() == 'n' {
		if f.clears && !d.answer {
			f.clear(m)
		}
		return d.literal("null")
	}
	switch {
	case f.list:
		return d.list(f, m)
	case f.dict:
		return d.dict(f, m)
	}
	if f.oneof != nil && m.WhichOneof(f.oneof) != nil {
		return &broken{rule: "at most one of " + memberNames(f.oneof)}
	}
	if f.msg != nil {
		return d.message(f.msg, m.Mutable(f.desc).Message())
	}
	v, err := d.scalar(f)
	if err == nil {
		m.Set(f.desc, v)
	}
	return err
}

// clear makes an optional field present with its zero value.
func (f *field) clear(m protoreflect.Message) {
	m.Set(f.desc, m.NewField(f.desc))
}

func memberNames(od protoreflect.OneofDescriptor) string {
	var names []string
	for i := range od.Fields().Len() {
		names = append(names, od.Fields().Get(i).JSONName())
	}
	return strings.Join(names, ", ")
}

func (d *decoder) list(f *field, m protoreflect.Message) error {
	if d.space() != '[' {
		return &broken{rule: listRule}
	}
	l := m.Mutable(f.desc).List()
	return d.elements(func(i int) error {
		v, err := d.value(f, l.NewElement)
		if err != nil {
			return within(err, "["+strconv.Itoa(i)+"]")
		}
		l.Append(v)
		return nil
	})
}

func (d *decoder) dict(f *field, m protoreflect.Message) error {
	if f.desc.MapKey().Kind() != protoreflect.StringKind {
		return errors.New("only maps with string keys have a form in JSON")
	}
	if d.space() != '{' {
		return &broken{rule: "an object"}
	}
	values := m.Mutable(f.desc).Map()
	return d.members(func(key []byte) error {
		k := protoreflect.ValueOfString(string(key)).MapKey()
		if values.Has(k) {
			return errDoubleKey
		}
		v, err := d.value(f.value, values.NewValue)
		if err != nil {
			return within(err, k.String())
		}
		values.Set(k, v)
		return nil
	})
}

// value reads an element of a list or map; null is none.
func (d *decoder) value(f *field, fresh func() protoreflect.Value) (protoreflect.Value, error) {
	if f.msg == nil {
		d.space()
		return d.scalar(f)
	}
	v := fresh()
	return v, d.message(f.msg, v.Message())
}

// scalar reads a value that is no message.
func (d *decoder) scalar(f *field) (protoreflect.Value, error) {
	switch f.kind {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.EnumKind:
		rule := f.rule()
		if d.peek() != '"' {
			return protoreflect.Value{}, &broken{rule: rule}
		}
		s, err := d.text()
		if err != nil {
			return protoreflect.Value{}, err
		}
		return f.ofText(s, d.answer)
	case protoreflect.BoolKind:
		return d.bool()
	default: // a number
	}
	if c := d.peek(); c != '-' && (c < '0' || c > '9') {
		return protoreflect.Value{}, &broken{rule: f.rule()}
	}
	tok, err := d.number()
	if err != nil {
		return protoreflect.Value{}, err
	}
	return f.ofNumber(string(tok))
}

func (d *decoder) bool() (protoreflect.Value, error) {
	switch d.peek() {
	case 't':
		return protoreflect.ValueOfBool(true), d.literal("true")
	case 'f':
		return protoreflect.ValueOfBool(false), d.literal("false")
	}
	return protoreflect.Value{}, &broken{rule: boolRule}
}

// text reads the string that starts here.
func (d *decoder) text() (string, error) {
	raw, escaped, err := d.quoted()
	if err != nil {
		return "", err
	}
	if !escaped {
		return string(raw), nil
	}
	s, ok := unescape(raw)
	if !ok {
		return "", &broken{rule: "text in Unicode, without lone surrogates"}
	}
	return s, nil
}

func (d *decoder) timestamp(m protoreflect.Message) error {
	if d.space() != '"' {
		return &broken{rule: timeRule}
	}
	s, err := d.text()
	if err != nil {
		return err
	}
	return setTime(m, s)
}

// decodeBase64 takes both alphabets, with or without padding.
func decodeBase64(s string) ([]byte, error) {
	s = strings.TrimRight(s, "=")
	if strings.ContainsAny(s, "-_") {
		return base64.RawURLEncoding.DecodeString(s)
	}
	return base64.RawStdEncoding.DecodeString(s)
}
