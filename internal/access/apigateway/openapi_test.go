package apigateway_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oceanchat/oceanchat/internal/wire"
)

// schema is the part of JSON Schema that /openapi.json uses; a key it does not know fails the test.
type schema struct {
	Ref         string            `json:"$ref"`
	Type        any               `json:"type"` // a name, or several
	Properties  map[string]schema `json:"properties"`
	Required    []string          `json:"required"`
	Items       *schema           `json:"items"`
	AnyOf       []schema          `json:"anyOf"`
	Enum        []any             `json:"enum"`
	Minimum     *float64          `json:"minimum"`
	Maximum     *float64          `json:"maximum"`
	Format      string            `json:"format"`
	Description string            `json:"description"`
}

type content struct {
	Content map[string]struct {
		Schema schema `json:"schema"`
	} `json:"content"`
}

type operation struct {
	OperationID string `json:"operationId"`
	Parameters  []struct {
		Name, In string
	} `json:"parameters"`
	Responses map[string]content `json:"responses"`
}

type contract struct {
	Paths      map[string]map[string]operation `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

func readContract(t *testing.T, r *rig) contract {
	t.Helper()
	got := r.do("GET", "/openapi.json", "", "")
	if got.status != 200 || got.header.Get("Content-Type") != "application/json" {
		t.Fatalf("GET /openapi.json = %d %s; want 200 application/json", got.status, got.header.Get("Content-Type"))
	}
	var whole struct {
		Components struct{ Schemas json.RawMessage }
	}
	var c contract
	if err := json.Unmarshal([]byte(got.body), &whole); err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(whole.Components.Schemas)))
	dec.DisallowUnknownFields()
	var schemas map[string]schema
	if err := dec.Decode(&schemas); err != nil {
		t.Fatalf("schemas: %v; the checker of this test must learn it", err)
	}
	if err := json.Unmarshal([]byte(got.body), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// check returns what in v is not as s says. It is strict: fields that s does not name are wrong too.
func (c contract) check(s schema, v any, at string) []string {
	if s.Ref != "" {
		return c.check(c.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")], v, at)
	}
	if len(s.AnyOf) > 0 {
		var all []string
		for _, one := range s.AnyOf {
			bad := c.check(one, v, at)
			if len(bad) == 0 {
				return nil
			}
			all = append(all, bad...)
		}
		return all
	}
	if !slices.Contains(typesOf(s), typeOf(v)) {
		return []string{fmt.Sprintf("%s: is %s; want %v", at, typeOf(v), s.Type)}
	}
	if s.Enum != nil && !slices.Contains(s.Enum, v) {
		return []string{fmt.Sprintf("%s: %v; want one of %v", at, v, s.Enum)}
	}
	switch v := v.(type) {
	case map[string]any:
		return c.checkObject(s, v, at)
	case []any:
		var bad []string
		for i, e := range v {
			bad = append(bad, c.check(*s.Items, e, fmt.Sprintf("%s[%d]", at, i))...)
		}
		return bad
	case float64:
		if s.Minimum != nil && v < *s.Minimum || s.Maximum != nil && v > *s.Maximum {
			return []string{fmt.Sprintf("%s: %v is out of range", at, v)}
		}
	case string:
		if _, err := time.Parse(time.RFC3339, v); s.Format == "date-time" && err != nil {
			return []string{fmt.Sprintf("%s: %v", at, err)}
		}
	}
	return nil
}

func (c contract) checkObject(s schema, v map[string]any, at string) []string {
	var bad []string
	for _, name := range s.Required {
		if _, ok := v[name]; !ok {
			bad = append(bad, at+"."+name+": missing")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		f, ok := s.Properties[name]
		if !ok {
			bad = append(bad, at+"."+name+": not in the contract")
			continue
		}
		bad = append(bad, c.check(f, v[name], at+"."+name)...)
	}
	return bad
}

func typesOf(s schema) []string {
	switch t := s.Type.(type) {
	case string:
		return withInteger(t)
	case []any:
		var all []string
		for _, one := range t {
			all = append(all, withInteger(one.(string))...)
		}
		return all
	}
	return nil
}

// withInteger adds that every integer is a number.
func withInteger(t string) []string {
	if t == "number" {
		return []string{"number", "integer"}
	}
	return []string{t}
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

// fill sets every field of m, lists with two elements; of the members of a oneof it sets number pick.
func fill(m protoreflect.Message, pick, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if od := f.ContainingOneof(); od != nil && !od.IsSynthetic() && od.Fields().Get(pick%od.Fields().Len()) != f {
			continue
		}
		switch {
		case f.IsList():
			l := m.Mutable(f).List()
			for range 2 {
				l.Append(sample(f, l.NewElement, pick, depth))
			}
		case !f.IsMap():
			m.Set(f, sample(f, func() protoreflect.Value { return m.NewField(f) }, pick, depth))
		}
	}
}

func sample(f protoreflect.FieldDescriptor, fresh func() protoreflect.Value, pick, depth int) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("a \"b\" <c> \u2028 é")
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{1, 2})
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(f.Enum().Values().Get(pick % f.Enum().Values().Len()).Number())
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(7)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(7)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1<<53 - 1)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1<<53 - 1)
	case protoreflect.MessageKind:
		v := fresh()
		if ts, ok := v.Message().Interface().(*timestamppb.Timestamp); ok {
			proto.Merge(ts, timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)))
		} else if depth < 6 {
			fill(v.Message(), pick, depth+1)
		}
		return v
	default:
		return fresh()
	}
}

// The contract at /openapi.json holds for every answer of every route, empty and full, and for refusals.
func TestAnswersMatchOpenAPI(t *testing.T) {
	t.Parallel()
	r := open(t)
	ann := r.login("ann")
	c := readContract(t, r)
	variants := map[string]func(m wire.Method) proto.Message{"empty": wire.Method.NewResponse}
	for pick := range 8 { // more than any oneof has members or enum has values that matter
		variants[fmt.Sprintf("full %d", pick)] = func(m wire.Method) proto.Message {
			resp := m.NewResponse()
			fill(resp.ProtoReflect(), pick, 0)
			return resp
		}
	}
	for name, each := range variants {
		r.services.mu.Lock()
		r.services.each = each
		r.services.mu.Unlock()
		for _, b := range bindings(t) {
			path := publicPath(b)
			op, ok := c.Paths[path][strings.ToLower(b.verb)]
			if !ok {
				t.Errorf("%s %s is not in /openapi.json", b.verb, path)
				continue
			}
			if op.OperationID == "" || !strings.HasPrefix(op.OperationID, b.method.Name) {
				t.Errorf("%s %s is operation %q; want %s", b.verb, path, op.OperationID, b.method.Name)
			}
			got := r.do(b.verb, parameter.ReplaceAllString(b.path, "x1"), ann, "")
			var v any
			if err := json.Unmarshal([]byte(got.body), &v); got.status != 200 || err != nil {
				t.Errorf("%s %s = %d %s, %v; want 200", b.verb, path, got.status, got.body, err)
				continue
			}
			for _, bad := range c.check(op.Responses["200"].Content["application/json"].Schema, v, "") {
				t.Errorf("%s %s, %s answer: %s", b.verb, path, name, bad)
			}
		}
	}
	for _, tok := range []string{"", "x"} {
		var v any
		got := r.do("GET", "/users/me", tok, "")
		if err := json.Unmarshal([]byte(got.body), &v); err != nil {
			t.Fatal(err)
		}
		for _, bad := range c.check(c.Components.Schemas["Error"], v, "") {
			t.Errorf("refusal: %s", bad)
		}
	}
}

// publicPath is the path with the names that clients know.
func publicPath(b binding) string {
	return parameter.ReplaceAllStringFunc(b.path, func(p string) string {
		f := b.method.Descriptor.Input().Fields().ByName(protoreflect.Name(strings.Trim(p, "{}")))
		return "{" + f.JSONName() + "}"
	})
}

// The checker itself: it must find what is wrong, or the test above proves nothing.
func TestChecker(t *testing.T) {
	t.Parallel()
	c := readContract(t, open(t))
	user := schema{Ref: "#/components/schemas/user.User"}
	const right = `{"userId":"u","username":"n","nickname":"N","avatar":"","bio":""}`
	for body, ok := range map[string]bool{
		right: true,
		`{"userId":"u","username":"n","nickname":"N","avatar":""}`:                    false,
		`{"userId":"u","username":"n","nickname":"N","avatar":"","bio":null}`:         false,
		`{"userId":5,"username":"n","nickname":"N","avatar":"","bio":""}`:             false,
		`{"userId":"u","username":"n","nickname":"N","avatar":"","bio":"","extra":1}`: false,
	} {
		var v any
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			t.Fatal(err)
		}
		if bad := c.check(user, v, ""); (len(bad) == 0) != ok {
			t.Errorf("check(%s) = %v; right is %t", body, bad, ok)
		}
	}
}
