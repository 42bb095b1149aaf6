package wire

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/oceanchat/oceanchat/internal/fault"
)

// DecodeQuery sets fields of m from the parameters of a URL. Names are lowerCamel, with dots into messages; unknown ones
// are ignored. Lists take repeated parameters and commas; an empty parameter sets strings only. Errors are INVALID_FIELD.
func DecodeQuery(m proto.Message, values url.Values) error {
	r := m.ProtoReflect()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		f, parent := locate(r, name, jsonField)
		if f == nil {
			continue
		}
		if err := f.setTexts(parent, values[name]); err != nil {
			return asFault(err, name)
		}
	}
	return nil
}

// SetField sets one field of m from a part of a URL's path. path may be the name in the .proto file, as in the bindings
// to HTTP, or the one in JSON. Errors are INVALID_FIELD; a path that m does not have is INTERNAL.
func SetField(m proto.Message, path, value string) error {
	f, parent := locate(m.ProtoReflect(), path, anyField)
	if f == nil {
		return fault.New(fault.InternalReason, "%s has no field %s", m.ProtoReflect().Descriptor().Name(), path)
	}
	return asFault(f.setTexts(parent, []string{value}), jsonPath(m, path))
}

func asFault(err error, path string) error {
	if err == nil {
		return nil
	}
	if b, ok := within(err, path).(*broken); ok { //nolint:errorlint // made here and never wrapped
		return fault.InvalidField(b.path, b.rule)
	}
	return err
}

// locate follows a dotted path from m to a field and the message that holds it, or returns nil. It makes the messages on
// the way only when it arrives.
func locate(m protoreflect.Message, path string, find func(*plan, string) *field) (*field, protoreflect.Message) {
	p := planOf(m.Descriptor())
	var steps []*field
	names := strings.Split(path, ".")
	for i, name := range names {
		f := find(p, name)
		if f == nil {
			return nil, nil
		}
		if i == len(names)-1 {
			for _, s := range steps {
				m = m.Mutable(s.desc).Message()
			}
			return f, m
		}
		if f.msg == nil || f.list || f.msg.shape != object {
			return nil, nil
		}
		steps = append(steps, f)
		p = f.msg
	}
	return nil, nil
}

func jsonField(p *plan, name string) *field { return p.byName[name] }

func anyField(p *plan, name string) *field {
	if f := p.byName[name]; f != nil {
		return f
	}
	for _, f := range p.byNumber {
		if string(f.desc.Name()) == name {
			return f
		}
	}
	return nil
}

// jsonPath returns path in the names that clients know.
func jsonPath(m proto.Message, path string) string {
	p := planOf(m.ProtoReflect().Descriptor())
	names := strings.Split(path, ".")
	for i, name := range names {
		f := anyField(p, name)
		names[i] = f.name
		p = f.msg
	}
	return strings.Join(names, ".")
}

// setTexts sets the field from all values that a parameter has.
func (f *field) setTexts(m protoreflect.Message, values []string) error {
	if f.msg != nil && f.msg.shape == plainList && !f.list {
		return f.msg.list.setTexts(m.Mutable(f.desc).Message(), values)
	}
	if f.dict || f.msg != nil && f.msg.shape == object {
		return &broken{rule: "not given in a URL"}
	}
	if f.list {
		return f.appendTexts(m, values)
	}
	if len(values) != 1 {
		return &broken{rule: "given once"}
	}
	if values[0] == "" && f.kind != protoreflect.StringKind {
		return nil
	}
	if f.msg != nil {
		return setTime(m.Mutable(f.desc).Message(), values[0])
	}
	v, err := f.ofParameter(values[0])
	if err == nil {
		m.Set(f.desc, v)
	}
	return err
}

func (f *field) appendTexts(m protoreflect.Message, values []string) error {
	if f.msg != nil {
		return &broken{rule: "not given in a URL"}
	}
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			if part == "" {
				continue
			}
			v, err := f.ofParameter(part)
			if err != nil {
				return err
			}
			m.Mutable(f.desc).List().Append(v)
		}
	}
	return nil
}

// ofParameter returns the value of a field that is no message and is written as s in a URL.
func (f *field) ofParameter(s string) (protoreflect.Value, error) {
	switch f.kind {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.EnumKind:
		if !utf8.ValidString(s) {
			return protoreflect.Value{}, &broken{rule: "text in UTF-8"}
		}
		return f.ofText(s, false)
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(s == "true"), f.unless(s != "true" && s != "false", boolRule)
	default: // a number
	}
	sc := scanner{data: []byte(s), max: 1}
	if _, err := sc.number(); err != nil || sc.end() != nil || strings.TrimRight(s, " \t\r\n") != s {
		return protoreflect.Value{}, &broken{rule: f.rule()}
	}
	return f.ofNumber(s)
}
