package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
)

// paths groups the operations by path, in the order in which the paths first appear.
func (s *schemas) paths(ops []operation) (object, error) {
	var paths object
	index := map[string]int{}
	ids := map[string]bool{}
	for _, op := range ops {
		i, known := index[op.path]
		if !known {
			i = len(paths)
			index[op.path] = i
			paths = append(paths, member{op.path, object(nil)})
		}
		item := paths[i].value.(object)
		if item.get(op.verb) != nil {
			return nil, fmt.Errorf("%s %s is bound twice", strings.ToUpper(op.verb), op.path)
		}
		if ids[op.id] {
			return nil, fmt.Errorf("two operations would be called %s", op.id)
		}
		ids[op.id] = true
		described, err := s.operation(op)
		if err != nil {
			return nil, fmt.Errorf("method %s: %w", op.method.Desc.FullName(), err)
		}
		paths[i].value = item.with(op.verb, described)
	}
	return paths, nil
}

// operation describes one binding.
func (s *schemas) operation(op operation) (object, error) {
	text := comment(op.method.Comments)
	o := object{{"operationId", op.id}, {"tags", []string{op.tag}}}
	if text != "" {
		o = o.with("summary", firstSentence(text))
	}
	if op.realtime {
		text = strings.TrimSpace(text + "\n\nAlso on the long connection, as `" + op.name + "`.")
	}
	o = o.with("description", text)
	if deprecated(op.method) {
		o = o.with("deprecated", true)
	}
	if op.public {
		o = o.with("security", []object{})
	}
	params, body, err := s.request(op)
	if err != nil {
		return nil, err
	}
	if len(params) > 0 {
		o = o.with("parameters", params)
	}
	if body != nil {
		o = o.with("requestBody", object{{"required", true}, {"content", jsonContent(body)}})
	}
	answer, err := s.answer(op)
	if err != nil {
		return nil, err
	}
	return o.with("responses", object{
		{"200", object{{"description", "Success."}, {"content", jsonContent(answer)}}},
		{"default", object{{"$ref", "#/components/responses/Error"}}},
	}), nil
}

// request splits the fields of the request over path, query and body. body is nil without one.
func (s *schemas) request(op operation) (params []object, body object, err error) {
	for i, f := range op.params {
		params = append(params, object{{"name", op.names[i]}, {"in", "path"}, {"required", true}}.
			with("description", comment(f.Comments)).with("schema", s.element(f, true)))
	}
	switch op.body {
	case "":
		return append(params, s.query(op.method.Input, "", op.bound, nil)...), nil, nil
	case "*":
		if len(op.bound) == 0 {
			return params, s.message(op.method.Input, true), nil
		}
		return params, s.shape(op.method.Input, true, op.bound), nil
	}
	field, name, err := lookup(op.method.Input, op.body)
	if err != nil {
		return nil, nil, fmt.Errorf("body: %w", err)
	}
	bound := map[string]*protogen.Field{name: field}
	maps.Copy(bound, op.bound)
	return append(params, s.query(op.method.Input, "", bound, nil)...), s.element(field, true), nil
}

// query lists the fields that are neither in the path nor in the body; nested messages become dotted
// names. within holds the messages on the way down, so that a recursive one ends.
func (s *schemas) query(msg *protogen.Message, prefix string, bound map[string]*protogen.Field, within []*protogen.Message) (params []object) {
	if slices.Contains(within, msg) {
		return nil
	}
	within = append(within, msg)
	for _, f := range msg.Fields {
		name := prefix + f.Desc.JSONName()
		if bound[name] != nil || f.Desc.IsMap() {
			continue
		}
		if f.Message != nil && !wellKnown(f.Message) && !f.Desc.IsList() {
			params = append(params, s.query(f.Message, name+".", bound, within)...)
			continue
		}
		p := object{{"name", name}, {"in", "query"}}.with("description", comment(f.Comments))
		schema := s.element(f, true)
		if f.Desc.IsList() {
			p = append(p, member{"style", "form"}, member{"explode", false})
			schema = object{{"type", "array"}, {"items", schema}}
		}
		params = append(params, p.with("schema", schema))
	}
	return params
}

// answer is the schema of the 200 body.
func (s *schemas) answer(op operation) (object, error) {
	if op.responseBody == "" {
		return s.message(op.method.Output, false), nil
	}
	field, _, err := lookup(op.method.Output, op.responseBody)
	if err != nil {
		return nil, fmt.Errorf("response_body: %w", err)
	}
	return s.field(field, false), nil
}

func jsonContent(schema object) object {
	return object{{"application/json", object{{"schema", schema}}}}
}

func errorResponse() object {
	return object{
		{"description", "Any failure. The code gives the HTTP status; with 429 a Retry-After header comes."},
		{"content", jsonContent(object{{"$ref", "#/components/schemas/Error"}})},
	}
}
