package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

const formatAddr = "addr"

// A bound is a min or max tag. The zero bound holds for everything.
type bound struct {
	text  string
	value reflect.Value
}

// validator is what a section implements when one field's rule depends on another's.
type validator interface{ Validate() error }

func (s *schema) validate() error {
	var errs []error
	for _, f := range s.fields {
		for _, rule := range f.broken() {
			errs = append(errs, f.problem(f.texts(), rule))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(s.sections)) {
		if v, ok := s.sections[path].value.Addr().Interface().(validator); ok {
			errs = append(errs, under(path, v.Validate())...)
		}
	}
	return errors.Join(errs...)
}

// under puts path before err, and before each of the errors that err joins.
func under(path string, err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, e := range joined.Unwrap() {
			errs = append(errs, under(path, e)...)
		}
		return errs
	}
	if path == "" {
		return []error{err}
	}
	return []error{fmt.Errorf("%s: %w", path, err)}
}

// broken returns the rules that the present value breaks.
func (f *field) broken() []string {
	var rules []string
	if f.min.text != "" && f.compare(f.min) < 0 {
		rules = append(rules, "want "+f.atLeast())
	}
	if f.max.text != "" && f.compare(f.max) > 0 {
		rules = append(rules, "want at most "+f.bound(f.max))
	}
	if f.enum != nil && f.outsideEnum() {
		rules = append(rules, "want one of "+strings.Join(f.enum, ", "))
	}
	if f.format == formatAddr {
		for _, addr := range f.texts() {
			if !isAddr(addr) {
				rules = append(rules, "want host:port or :port, with a port up to 65535")
			}
		}
	}
	return rules
}

// outsideEnum reports whether the value, or one of the list's, is none of the enum's.
func (f *field) outsideEnum() bool {
	return slices.ContainsFunc(f.texts(), func(s string) bool { return !slices.Contains(f.enum, s) })
}

// compare orders the value, or its length, against b.
func (f *field) compare(b bound) int {
	switch v := f.value; {
	case v.Kind() == reflect.String || v.Kind() == reflect.Slice:
		return cmp.Compare(int64(v.Len()), b.value.Int())
	case v.CanInt():
		return cmp.Compare(v.Int(), b.value.Int())
	case v.CanUint():
		return cmp.Compare(v.Uint(), b.value.Uint())
	case v.CanFloat():
		return cmp.Compare(v.Float(), b.value.Float())
	default:
		return 0
	}
}

func (f *field) atLeast() string {
	if f.isString() && f.min.text == "1" {
		return "a value that is not empty"
	}
	return "at least " + f.bound(f.min)
}

// bound says what b limits.
func (f *field) bound(b bound) string {
	switch f.value.Kind() {
	case reflect.String:
		return b.text + " bytes"
	case reflect.Slice:
		return b.text + " values"
	default:
		return b.text
	}
}

// rules describes all rules in one line, "" for none.
func (f *field) rules() string {
	var rules []string
	if f.enum != nil {
		rules = append(rules, "one of "+strings.Join(f.enum, ", "))
	}
	if f.min.text != "" {
		rules = append(rules, f.atLeast())
	}
	if f.max.text != "" {
		rules = append(rules, "at most "+f.bound(f.max))
	}
	return strings.Join(rules, "; ")
}

func isAddr(s string) bool {
	if s == "" {
		return true
	}
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}
