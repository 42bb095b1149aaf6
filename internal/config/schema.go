package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// A schema is a struct of settings taken apart: all fields in the order of declaration, depth first.
type schema struct {
	fields   []*field
	byPath   map[string]*field // "api_gateway.rate_limit"
	byName   map[string]*field // "api-gateway-rate-limit": what flags and variables have in common
	sections map[string]section
}

// A section is a nested struct, or the root itself with the path "".
type section struct {
	doc   string
	value reflect.Value
}

// A field is one setting. Everything but source comes from the declaration.
type field struct {
	path     string
	doc      string
	initial  string // the default
	min, max bound
	enum     []string
	format   string
	value    reflect.Value
	source   string // where the present value came from, "" for a value made by hand
}

var (
	durationType    = reflect.TypeFor[time.Duration]()
	secretType      = reflect.TypeFor[Secret]()
	unmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
	marshalerType   = reflect.TypeFor[encoding.TextMarshaler]()
)

// schemaOf returns the schema of *root. Its errors are mistakes in the declaration, so the first test that loads the
// struct finds them.
func schemaOf(root any) (*schema, error) {
	v := reflect.ValueOf(root)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("settings are a %T; want a pointer to a struct", root)
	}
	s := &schema{byPath: map[string]*field{}, byName: map[string]*field{}, sections: map[string]section{}}
	if err := s.addStruct("", "", v.Elem()); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *schema) addStruct(path, doc string, v reflect.Value) error {
	s.sections[path] = section{doc, v}
	var errs []error
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key := f.Tag.Get("yaml")
		if !f.IsExported() || key == "-" {
			continue
		}
		if key == "" || strings.ContainsAny(key, ",. -") {
			errs = append(errs, fmt.Errorf("field %s of %s: want a tag yaml:\"lower_case_key\"", f.Name, v.Type()))
			continue
		}
		errs = append(errs, s.add(join(path, key), f.Tag, v.Field(i)))
	}
	return errors.Join(errs...)
}

func (s *schema) add(path string, tag reflect.StructTag, v reflect.Value) error {
	if _, isSection := s.sections[path]; isSection || s.byPath[path] != nil {
		return fmt.Errorf("setting %s: the key is there twice", path)
	}
	if v.Kind() == reflect.Struct && !isText(v.Type()) {
		return s.addStruct(path, tag.Get("doc"), v)
	}
	f := &field{path: path, doc: tag.Get("doc"), initial: tag.Get("default"), format: tag.Get("format"), value: v}
	if enum := tag.Get("enum"); enum != "" {
		f.enum = strings.Split(enum, ",")
	}
	other := s.byName[f.name()]
	switch {
	case !isScalar(v.Type()) && !f.isList():
		return fmt.Errorf("setting %s: a %s cannot be a setting", path, v.Type())
	case f.doc == "":
		return fmt.Errorf("setting %s: want a tag doc", path)
	case f.isSecret() && f.initial != "":
		return fmt.Errorf("setting %s: a secret has no default", path)
	case f.format != "" && f.format != formatAddr:
		return fmt.Errorf("setting %s: unknown format %q", path, f.format)
	case f.name() == "config" || f.name() == "help":
		return fmt.Errorf("setting %s: the name is taken by a flag", path)
	case other != nil:
		return fmt.Errorf("settings %s and %s: both are %s in the environment", other.path, path, f.env())
	}
	s.fields = append(s.fields, f)
	s.byPath[path], s.byName[f.name()] = f, f
	return errors.Join(f.parseTag(&f.min, tag.Get("min")), f.parseTag(&f.max, tag.Get("max")), f.checkDefault())
}

// parseTag reads the bound in a min or max tag.
func (f *field) parseTag(b *bound, text string) error {
	if text == "" {
		return nil
	}
	t := f.value.Type()
	if f.isList() || f.isString() {
		t = reflect.TypeFor[int]()
	}
	if probe := reflect.New(t).Elem(); !probe.CanInt() && !probe.CanUint() && !probe.CanFloat() {
		return fmt.Errorf("setting %s: a %s has no min or max", f.path, t)
	}
	v := reflect.New(t).Elem()
	if err := setText(v, text); err != nil {
		return fmt.Errorf("setting %s: bound %q: %w", f.path, text, err)
	}
	*b = bound{text: text, value: v}
	return nil
}

func (f *field) checkDefault() error {
	if f.initial == "" {
		return nil
	}
	probe := &field{value: reflect.New(f.value.Type()).Elem()}
	if err := probe.set(f.split(f.initial)); err != nil {
		return fmt.Errorf("setting %s: default %q: %w", f.path, f.initial, err)
	}
	return nil
}

// defaults returns a setting for every field, so that what Load leaves behind depends on its sources alone.
func (s *schema) defaults() []setting {
	all := make([]setting, 0, len(s.fields))
	for _, f := range s.fields {
		f.value.SetZero()
		if f.initial == "" {
			f.source = "default"
			continue
		}
		all = append(all, setting{f, f.split(f.initial), "default"})
	}
	return all
}

// name is the path in the form in which flags and variables agree.
func (f *field) name() string { return nameOf(f.path) }

func (f *field) env() string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(f.name(), "-", "_"))
}

func (f *field) isList() bool   { return f.value.Type() == reflect.TypeFor[[]string]() }
func (f *field) isString() bool { return f.value.Kind() == reflect.String }
func (f *field) isBool() bool   { return f.value.Kind() == reflect.Bool }
func (f *field) isSecret() bool { return f.value.Type() == secretType }

// nameOf maps "api_gateway.rate_limit" and "api-gateway-rate-limit" to the latter.
func nameOf(path string) string { return strings.NewReplacer(".", "-", "_", "-").Replace(path) }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(unmarshalerType) && t.Implements(marshalerType)
}

func isScalar(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	default:
		return isText(t)
	}
}
