package main

import (
	"bytes"
	"encoding/json"
)

// object is a JSON object that keeps the order of its members: the document reads like the .proto files.
type object []member

type member struct {
	key   string
	value any
}

// with returns o with one more member; an empty description adds nothing.
func (o object) with(key string, value any) object {
	if s, ok := value.(string); ok && s == "" && key == "description" {
		return o
	}
	return append(o, member{key, value})
}

// get returns the value under key, or nil.
func (o object) get(key string) any {
	for _, m := range o {
		if m.key == key {
			return m.value
		}
	}
	return nil
}

// MarshalJSON writes the members in order and leaves <, > and & readable.
func (o object) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			out.WriteByte(',')
		}
		for j, part := range []any{m.key, m.value} {
			if j > 0 {
				out.WriteByte(':')
			}
			enc := json.NewEncoder(&out)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(part); err != nil {
				return nil, err
			}
			out.Truncate(out.Len() - 1) // Encode ends with a newline
		}
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}
