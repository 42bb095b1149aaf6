package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// optionsField is the number of the oceanchat.options.v1.method extension; its message has
// realtime = 1 and public = 2. Read from the wire, as the plugin cannot import generated code.
const optionsField = 50101

// operation is one HTTP binding of one method.
type operation struct {
	method       *protogen.Method
	name, tag    string // "message.send", "message"
	id           string // the name, or for a further binding "message.send.byConversationId"
	verb, path   string // "post", "/conversations/{conversationId}/messages"
	body         string // "", "*" or a field of the request
	responseBody string // "" or a field of the answer
	bound        map[string]*protogen.Field
	params       []*protogen.Field // of the path, in its order
	names        []string          // their JSON paths
	realtime     bool
	public       bool
}

// document builds the whole OpenAPI object.
func document(gen *protogen.Plugin) (object, error) {
	ops, tags, err := operations(gen)
	if err != nil {
		return nil, err
	}
	s := newSchemas()
	for _, op := range ops {
		s.markAnswer(op.method.Output)
	}
	paths, err := s.paths(ops)
	if err != nil {
		return nil, err
	}
	return object{
		{"openapi", "3.1.0"},
		{"info", object{
			{"title", "OceanChat"},
			{"version", "v1"},
			{"description", "The REST door. Every success is 200; every failure is the Error object. " +
				"New fields and enum values may be added: clients ignore what they do not know."},
		}},
		{"servers", []object{{{"url", "/"}}}},
		{"security", []object{{{"bearer", []string{}}}}},
		{"tags", tags},
		{"paths", paths},
		{"components", object{
			{"securitySchemes", object{{"bearer", object{{"type", "http"}, {"scheme", "bearer"}, {"bearerFormat", "JWT"}}}}},
			{"responses", object{{"Error", errorResponse()}}},
			{"schemas", s.components()},
		}},
	}, nil
}

// operations lists the bindings of all methods in the order of the files, and the tags they use.
func operations(gen *protogen.Plugin) (ops []operation, tags []object, err error) {
	for _, f := range gen.Files {
		if !f.Generate {
			continue
		}
		for _, svc := range f.Services {
			tag := lowerFirst(strings.TrimSuffix(svc.GoName, "Service"))
			found := len(ops)
			for _, m := range svc.Methods {
				more, err := bindings(m, tag)
				if err != nil {
					return nil, nil, fmt.Errorf("method %s: %w", m.Desc.FullName(), err)
				}
				ops = append(ops, more...)
			}
			if len(ops) > found {
				tags = append(tags, object{{"name", tag}}.with("description", comment(svc.Comments)))
			}
		}
	}
	return ops, tags, nil
}

// bindings returns the operations of one method: none without an annotation, more with additional bindings.
func bindings(m *protogen.Method, tag string) ([]operation, error) {
	rule, _ := proto.GetExtension(m.Desc.Options(), annotations.E_Http).(*annotations.HttpRule)
	if rule == nil {
		return nil, nil
	}
	if m.Desc.IsStreamingClient() || m.Desc.IsStreamingServer() {
		return nil, errors.New("a streaming method cannot have an HTTP binding")
	}
	realtime, public, err := methodOptions(m)
	if err != nil {
		return nil, err
	}
	var ops []operation
	for i, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		op := operation{
			method: m, tag: tag, name: tag + "." + lowerFirst(m.GoName),
			body: r.GetBody(), responseBody: r.GetResponseBody(), realtime: realtime, public: public,
		}
		var template string
		if op.verb, template, err = verbAndPath(r); err != nil {
			return nil, err
		}
		if err := op.bindPath(template); err != nil {
			return nil, err
		}
		if op.id = op.name; i > 0 {
			op.id += op.by()
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// by tells a further binding of a method from the first by what its path names. It stands apart from the name, as there is no
// such method.
func (op *operation) by() string {
	var by strings.Builder
	for _, name := range op.names {
		by.WriteString(".by" + upperFirst(name))
	}
	return by.String()
}

func verbAndPath(r *annotations.HttpRule) (verb, path string, err error) {
	switch p := r.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return "get", p.Get, nil
	case *annotations.HttpRule_Put:
		return "put", p.Put, nil
	case *annotations.HttpRule_Post:
		return "post", p.Post, nil
	case *annotations.HttpRule_Delete:
		return "delete", p.Delete, nil
	case *annotations.HttpRule_Patch:
		return "patch", p.Patch, nil
	case *annotations.HttpRule_Custom:
		if p.Custom.GetKind() == http.MethodHead {
			return "head", p.Custom.GetPath(), nil
		}
	}
	return "", "", errors.New("the HTTP rule has no verb that OpenAPI knows")
}

// methodOptions reads oceanchat.options.v1.MethodOptions from the raw options.
func methodOptions(m *protogen.Method) (realtime, public bool, err error) {
	raw, err := proto.Marshal(m.Desc.Options())
	if err != nil {
		return false, false, err
	}
	err = eachField(raw, func(num protowire.Number, _ uint64, nested []byte) error {
		if num != optionsField {
			return nil
		}
		return eachField(nested, func(num protowire.Number, v uint64, _ []byte) error {
			if num == 1 {
				realtime = v != 0
			} else if num == 2 {
				public = v != 0
			}
			return nil
		})
	})
	return realtime, public, err
}

// eachField calls f with every field of a raw message; v is set for varints, nested for bytes.
func eachField(raw []byte, f func(num protowire.Number, v uint64, nested []byte) error) error {
	for len(raw) > 0 {
		num, typ, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return protowire.ParseError(n)
		}
		raw = raw[n:]
		var v uint64
		var nested []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(raw)
		case protowire.BytesType:
			nested, n = protowire.ConsumeBytes(raw)
		default:
			n = protowire.ConsumeFieldValue(num, typ, raw)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := f(num, v, nested); err != nil {
			return err
		}
		raw = raw[n:]
	}
	return nil
}

// bindPath turns a gateway template into an OpenAPI path and finds the fields that it binds.
func (op *operation) bindPath(template string) error {
	op.bound = map[string]*protogen.Field{}
	var path strings.Builder
	for rest := template; rest != ""; {
		before, after, found := strings.Cut(rest, "{")
		path.WriteString(before)
		if !found {
			break
		}
		variable, tail, closed := strings.Cut(after, "}")
		if !closed {
			return fmt.Errorf("path %q: a brace is not closed", template)
		}
		name, _, _ := strings.Cut(variable, "=")
		field, jsonPath, err := lookup(op.method.Input, name)
		if err != nil {
			return fmt.Errorf("path %q: %w", template, err)
		}
		op.bound[jsonPath] = field
		op.params = append(op.params, field)
		op.names = append(op.names, jsonPath)
		path.WriteString("{" + jsonPath + "}")
		rest = tail
	}
	op.path = path.String()
	return nil
}

// lookup finds a field by its dotted proto path and returns it with its JSON path.
func lookup(msg *protogen.Message, path string) (*protogen.Field, string, error) {
	var names []string
	var found *protogen.Field
	for part := range strings.SplitSeq(path, ".") {
		found = nil
		for _, f := range messageFields(msg) {
			if string(f.Desc.Name()) == part {
				found = f
			}
		}
		if found == nil {
			return nil, "", fmt.Errorf("%q is no field of the request", path)
		}
		names = append(names, found.Desc.JSONName())
		msg = found.Message
	}
	return found, strings.Join(names, "."), nil
}

func messageFields(msg *protogen.Message) []*protogen.Field {
	if msg == nil {
		return nil
	}
	return msg.Fields
}
