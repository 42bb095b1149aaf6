package main

import (
	"sort"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxSafe is the largest integer that every JSON reader keeps exactly.
const maxSafe = 1<<53 - 1

// schemas collects the component schemas that the operations refer to. In an answer every field is
// present, in a request none must be: a message that stands in both gets two schemas, the one of
// requests called …Input.
type schemas struct {
	answers map[protoreflect.FullName]bool
	done    map[string]object
}

func newSchemas() *schemas {
	return &schemas{answers: map[protoreflect.FullName]bool{}, done: map[string]object{"Error": errorSchema()}}
}

// markAnswer notes msg and all below it as part of an answer. It must run over all answers first.
func (s *schemas) markAnswer(msg *protogen.Message) {
	if s.answers[msg.Desc.FullName()] || wellKnown(msg) {
		return
	}
	s.answers[msg.Desc.FullName()] = true
	for _, f := range msg.Fields {
		if f.Message != nil {
			s.markAnswer(f.Message)
		}
	}
}

// components returns all schemas by name.
func (s *schemas) components() object {
	names := make([]string, 0, len(s.done))
	for name := range s.done {
		names = append(names, name)
	}
	sort.Strings(names)
	var out object
	for _, name := range names {
		out = append(out, member{name, s.done[name]})
	}
	return out
}

// message returns the schema of msg: a reference, or the thing itself for a well-known type or a list.
func (s *schemas) message(msg *protogen.Message, request bool) object {
	if schema, ok := wellKnownSchemas[msg.Desc.FullName()]; ok {
		return schema
	}
	if isList(msg) {
		return object{{"type", "array"}, {"items", s.element(msg.Fields[0], request)}}
	}
	name := schemaName(msg.Desc)
	if request && s.answers[msg.Desc.FullName()] {
		name += "Input"
	}
	if _, ok := s.done[name]; !ok {
		s.done[name] = nil // ends a recursion
		s.done[name] = s.shape(msg, request, nil)
	}
	return object{{"$ref", "#/components/schemas/" + name}}
}

// shape describes the members of msg but those in without.
func (s *schemas) shape(msg *protogen.Message, request bool, without map[string]*protogen.Field) object {
	props := object{}
	required := []string{}
	for _, f := range msg.Fields {
		name := f.Desc.JSONName()
		if without[name] != nil {
			continue
		}
		props = append(props, member{name, s.field(f, request)})
		if !request && !inOneof(f) {
			required = append(required, name)
		}
	}
	o := object{{"type", "object"}}.with("description", comment(msg.Comments)).with("properties", props)
	if len(required) > 0 {
		o = o.with("required", required)
	}
	return o
}

// field describes a field with its comment. A member of a real oneof is absent, not null, when another is set.
func (s *schemas) field(f *protogen.Field, request bool) object {
	var o object
	switch {
	case f.Desc.IsMap():
		o = object{{"type", "object"}, {"additionalProperties", s.element(f.Message.Fields[1], request)}}
	case f.Desc.IsList():
		o = object{{"type", "array"}, {"items", s.element(f, request)}}
	case f.Desc.HasPresence() && !inOneof(f):
		o = nullable(s.element(f, request))
	default:
		o = s.element(f, request)
	}
	text := comment(f.Comments)
	if inOneof(f) && len(f.Oneof.Fields) > 1 {
		text = strings.TrimSpace(text + "\n\nAt most one of " + oneofNames(f.Oneof) + " is present.")
	}
	o = o.with("description", text)
	if deprecated(f) {
		o = o.with("deprecated", true)
	}
	return o
}

// element describes one value of f, whatever its cardinality.
func (s *schemas) element(f *protogen.Field, request bool) object {
	if f.Message != nil {
		return s.message(f.Message, request)
	}
	if f.Enum != nil {
		return s.enum(f.Enum)
	}
	switch f.Desc.Kind() {
	case protoreflect.BoolKind:
		return object{{"type", "boolean"}}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return object{{"type", "integer"}, {"format", "int32"}}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return object{{"type", "integer"}, {"format", "int64"}, {"minimum", 0}, {"maximum", 1<<32 - 1}}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return object{{"type", "integer"}, {"format", "int64"}, {"minimum", -maxSafe}, {"maximum", maxSafe}}
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return object{{"type", "integer"}, {"format", "int64"}, {"minimum", 0}, {"maximum", maxSafe}}
	case protoreflect.FloatKind:
		return object{{"type", "number"}, {"format", "float"}}
	case protoreflect.DoubleKind:
		return object{{"type", "number"}, {"format", "double"}}
	case protoreflect.BytesKind:
		return object{{"type", "string"}, {"contentEncoding", "base64"}}
	default:
		return object{{"type", "string"}}
	}
}

// enum describes an enum by the strings of the JSON codec; the zero value is the empty string.
func (s *schemas) enum(e *protogen.Enum) object {
	name := schemaName(e.Desc)
	if _, ok := s.done[name]; !ok {
		lines := []string{comment(e.Comments)}
		var values []string
		for _, v := range e.Values {
			values = append(values, enumString(e.Desc, v.Desc))
			if c := comment(v.Comments); c != "" {
				lines = append(lines, "- `"+enumString(e.Desc, v.Desc)+"`: "+strings.ReplaceAll(c, "\n", " "))
			}
		}
		s.done[name] = object{{"type", "string"}}.with("description", strings.TrimSpace(strings.Join(lines, "\n"))).with("enum", values)
	}
	return object{{"$ref", "#/components/schemas/" + name}}
}

// nullable returns a schema that also takes null.
func nullable(o object) object {
	if typ, ok := o.get("type").(string); ok {
		out := object{{"type", []string{typ, "null"}}}
		for _, m := range o {
			if m.key != "type" {
				out = append(out, m)
			}
		}
		return out
	}
	if o.get("$ref") != nil {
		return object{{"anyOf", []object{o, {{"type", "null"}}}}}
	}
	return o // already nullable, or any value
}

var wellKnownSchemas = map[protoreflect.FullName]object{
	"google.protobuf.Timestamp":   {{"type", "string"}, {"format", "date-time"}},
	"google.protobuf.Duration":    {{"type", "string"}},
	"google.protobuf.FieldMask":   {{"type", "string"}},
	"google.protobuf.Struct":      {{"type", "object"}},
	"google.protobuf.Any":         {{"type", "object"}},
	"google.protobuf.Empty":       {{"type", "object"}},
	"google.protobuf.ListValue":   {{"type", "array"}, {"items", object{}}},
	"google.protobuf.Value":       {},
	"google.protobuf.StringValue": {{"type", []string{"string", "null"}}},
	"google.protobuf.BoolValue":   {{"type", []string{"boolean", "null"}}},
	"google.protobuf.Int32Value":  {{"type", []string{"integer", "null"}}},
	"google.protobuf.UInt32Value": {{"type", []string{"integer", "null"}}, {"minimum", 0}},
	"google.protobuf.Int64Value":  {{"type", []string{"integer", "null"}}},
	"google.protobuf.UInt64Value": {{"type", []string{"integer", "null"}}, {"minimum", 0}},
	"google.protobuf.FloatValue":  {{"type", []string{"number", "null"}}},
	"google.protobuf.DoubleValue": {{"type", []string{"number", "null"}}},
	"google.protobuf.BytesValue":  {{"type", []string{"string", "null"}}, {"contentEncoding", "base64"}},
}

func wellKnown(msg *protogen.Message) bool {
	_, ok := wellKnownSchemas[msg.Desc.FullName()]
	return ok
}

// errorSchema is the one error object of all doors; no .proto of an answer mentions it.
func errorSchema() object {
	text := object{{"type", "string"}}
	return object{
		{"type", "object"},
		{"description", "What every failure answers, the same at every door."},
		{"properties", object{
			{"code", append(text[:1:1], member{"description", "A gRPC status name, such as PERMISSION_DENIED."})},
			{"reason", append(text[:1:1], member{"description", "A stable word to branch on, such as NOT_MEMBER."})},
			{"message", append(text[:1:1], member{"description", "For the developer, in English; not to be parsed."})},
			{"fields", object{{"type", "array"}, {"items", object{
				{"type", "object"},
				{"properties", object{{"field", text}, {"rule", text}}},
				{"required", []string{"field", "rule"}},
			}}, {"description", "The fields that broke a rule."}}},
			{"retryAfterMs", object{{"type", "integer"}, {"minimum", 0}, {"description", "0: no advice."}}},
			{"requestId", append(text[:1:1], member{"description", "Finds the request in the server's log."})},
		}},
		{"required", []string{"code", "reason", "message", "fields", "retryAfterMs", "requestId"}},
	}
}
