package wire

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// timeLayout is how times are written: RFC 3339, UTC, milliseconds; what is finer is cut off.
const timeLayout = "2006-01-02T15:04:05.000Z"

// AppendJSON appends m as the public contract writes it: compact, fields in the order of declaration, each present
// except the members of a oneof that are not set. Invalid UTF-8 becomes U+FFFD. Errors are the server's own: a time
// outside the years 1 to 9999, a number that is not finite, a map with keys that are no strings.
func AppendJSON(dst []byte, m proto.Message) ([]byte, error) {
	if m == nil {
		return dst, errors.New("encode JSON: no message")
	}
	r := m.ProtoReflect()
	out, err := planOf(r.Descriptor()).append(dst, r)
	if err != nil {
		return dst, fmt.Errorf("encode %s as JSON: %w", r.Descriptor().FullName(), err)
	}
	return out, nil
}

// MarshalJSON is AppendJSON into a new slice.
func MarshalJSON(m proto.Message) ([]byte, error) {
	return AppendJSON(make([]byte, 0, 512), m)
}

func (p *plan) append(dst []byte, m protoreflect.Message) ([]byte, error) {
	switch p.shape {
	case timestamp:
		return appendTimestamp(dst, m)
	case plainList:
		return p.list.appendTo(dst, m)
	case object:
	}
	var err error
	dst = append(dst, '{')
	first := true
	for i := range p.steps {
		f := p.steps[i].field
		if f == nil {
			set := m.WhichOneof(p.steps[i].oneof)
			if set == nil {
				continue
			}
			f = p.byNumber[set.Number()]
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, f.key...)
		if dst, err = f.appendTo(dst, m); err != nil {
			return dst, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return append(dst, '}'), nil
}

// appendTo appends the field's value in m.
func (f *field) appendTo(dst []byte, m protoreflect.Message) ([]byte, error) {
	switch {
	case f.list:
		if !m.Has(f.desc) {
			return append(dst, "[]"...), nil
		}
		return f.appendList(dst, m.Get(f.desc).List())
	case f.dict:
		return f.appendDict(dst, m.Get(f.desc).Map())
	case (f.optional || f.msg != nil) && !m.Has(f.desc):
		return append(dst, "null"...), nil
	}
	return f.appendValue(dst, m.Get(f.desc))
}

func (f *field) appendList(dst []byte, l protoreflect.List) ([]byte, error) {
	var err error
	dst = append(dst, '[')
	for i := range l.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = f.appendValue(dst, l.Get(i)); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

// appendDict sorts by key, so that equal messages are equal bytes.
func (f *field) appendDict(dst []byte, m protoreflect.Map) ([]byte, error) {
	if f.desc.MapKey().Kind() != protoreflect.StringKind {
		return dst, errors.New("only maps with string keys have a form in JSON")
	}
	values := map[string]protoreflect.Value{}
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		values[k.String()] = v
		return true
	})
	var err error
	dst = append(dst, '{')
	for i, k := range slices.Sorted(maps.Keys(values)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, k), ':')
		if dst, err = f.value.appendValue(dst, values[k]); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// appendValue appends one value of the field's kind: of a field, a list's element or a map's value.
func (f *field) appendValue(dst []byte, v protoreflect.Value) ([]byte, error) {
	switch f.kind {
	case protoreflect.StringKind:
		return appendString(dst, v.String()), nil
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, v.Bool()), nil
	case protoreflect.EnumKind:
		return appendString(dst, f.enum.word(v.Enum())), nil
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return f.msg.append(dst, v.Message())
	case protoreflect.BytesKind:
		return appendBytes(dst, v.Bytes()), nil
	case protoreflect.FloatKind:
		return appendFloat(dst, v.Float(), 32)
	case protoreflect.DoubleKind:
		return appendFloat(dst, v.Float(), 64)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return strconv.AppendUint(dst, v.Uint(), 10), nil
	default:
		return strconv.AppendInt(dst, v.Int(), 10), nil
	}
}

func appendTimestamp(dst []byte, m protoreflect.Message) ([]byte, error) {
	ts, ok := m.Interface().(*timestamppb.Timestamp)
	if !ok {
		return dst, fmt.Errorf("a time of type %T", m.Interface())
	}
	if err := ts.CheckValid(); err != nil {
		return dst, err
	}
	dst = append(dst, '"')
	dst = ts.AsTime().AppendFormat(dst, timeLayout)
	return append(dst, '"'), nil
}

func appendBytes(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

func appendFloat(dst []byte, v float64, bits int) ([]byte, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return dst, fmt.Errorf("%v is no number of JSON", v)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, bits), nil
}
