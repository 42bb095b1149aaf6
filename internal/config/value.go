package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// set stores what values say: one text, or the elements of a list.
func (f *field) set(values []string) error {
	if f.isList() {
		f.value.Set(reflect.ValueOf(slices.Clone(values)))
		return nil
	}
	err := setText(f.value, values[0])
	if err != nil && f.enum != nil {
		return errors.New("want one of " + strings.Join(f.enum, ", "))
	}
	return err
}

// split turns a text from a tag, a variable or a flag into values.
func (f *field) split(text string) []string {
	if !f.isList() {
		return []string{text}
	}
	var values []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			values = append(values, item)
		}
	}
	return values
}

// setText stores text in v. Its errors say what would have been right; they never repeat the text, as it may be a
// secret.
func setText(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	if v.Type() == durationType {
		return setDuration(v, text)
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
		return nil
	case reflect.Bool:
		return setBool(v, text)
	case reflect.Float64:
		return setFloat(v, text)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			return wantNumber(err, "want a whole number, 0 or above")
		}
		v.SetUint(n)
		return nil
	default: // integers; schemaOf lets nothing else through
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return wantNumber(err, "want a whole number")
		}
		v.SetInt(n)
		return nil
	}
}

func setDuration(v reflect.Value, text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("want a duration such as 1h, 30s or 250ms")
	}
	v.SetInt(int64(d))
	return nil
}

// setBool takes true and false only: 1, t or yes would be one more thing to read.
func setBool(v reflect.Value, text string) error {
	if text != "true" && text != "false" {
		return errors.New("want true or false")
	}
	v.SetBool(text == "true")
	return nil
}

func setFloat(v reflect.Value, text string) error {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return errors.New("want a number")
	}
	v.SetFloat(n)
	return nil
}

func wantNumber(err error, rule string) error {
	if errors.Is(err, strconv.ErrRange) {
		return errors.New("the number is too large")
	}
	return errors.New(rule)
}

// texts is the inverse of set, fit to be shown: a Secret comes out masked.
func (f *field) texts() []string {
	if f.isList() {
		return slices.Clone(f.value.Interface().([]string))
	}
	return []string{f.text()}
}

func (f *field) text() string {
	switch v := f.value.Interface().(type) {
	case encoding.TextMarshaler:
		text, err := v.MarshalText()
		if err != nil {
			return err.Error()
		}
		return string(text)
	case time.Duration:
		return shortDuration(v)
	default:
		return fmt.Sprint(v)
	}
}

// quote shows values in an error.
func (f *field) quote(values []string) string {
	switch {
	case f.isSecret():
		return Secret(values[0]).String()
	case f.isList():
		return strconv.Quote(strings.Join(values, ","))
	default:
		return strconv.Quote(values[0])
	}
}

// shortDuration writes 24h where Duration.String has 24h0m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
