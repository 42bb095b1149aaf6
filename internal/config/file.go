package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds what is read of a file: many times any real one, and a wrong path such as /dev/zero ends too.
const maxFile = 1 << 20

// parseFile reads the YAML file at path. Its errors name the line. An empty file, and a section without content,
// leave everything as it is.
func (s *schema) parseFile(path string) ([]setting, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration file: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("configuration file %s: %w", path, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("configuration file %s: want one YAML document", path)
	}
	r := fileReader{schema: s, file: path}
	r.section("", doc.Content[0])
	return r.settings, errors.Join(r.errs...)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return text, nil
}

// A fileReader walks the nodes of one file. Its depth is bounded by the schema's, so aliases cannot make it loop.
type fileReader struct {
	schema   *schema
	file     string
	settings []setting
	errs     []error
}

func (r *fileReader) section(path string, n *yaml.Node) {
	n = resolve(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n, "%s: want a section of keys and values", orRoot(path))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		p := join(path, key.Value)
		if seen[key.Value] {
			r.fail(key, "key %s is there twice", p)
			continue
		}
		seen[key.Value] = true
		r.entry(p, key, value)
	}
}

// entry reads one key's value. A key with a dot in it is unknown: there is one way to write each path.
func (r *fileReader) entry(path string, key, value *yaml.Node) {
	isKey := key.Kind == yaml.ScalarNode && key.Value != "" && !strings.Contains(key.Value, ".")
	if _, ok := r.schema.sections[path]; ok && isKey {
		r.section(path, value)
		return
	}
	f, ok := r.schema.byPath[path]
	if !ok || !isKey {
		r.fail(key, "unknown key %s", path)
		return
	}
	values, rule := scalars(f, resolve(value))
	s := setting{f, values, fmt.Sprintf("%s:%d", r.file, value.Line)}
	if rule != "" {
		f.source = s.source
		r.errs = append(r.errs, f.problem(values, rule))
		return
	}
	r.settings = append(r.settings, s)
}

// scalars returns the texts of n for f, or the rule that n breaks. A string must be one in YAML too: there 5, no and
// 1e3 are not, and text that happens to look like a number would come out changed.
func scalars(f *field, n *yaml.Node) (values []string, rule string) {
	switch {
	case n.Kind == yaml.SequenceNode && f.isList():
		for _, item := range n.Content {
			item = resolve(item)
			if item.Kind != yaml.ScalarNode || item.ShortTag() != "!!str" {
				return append(values, item.Value), "want a list of strings; quote what looks like something else"
			}
			values = append(values, item.Value)
		}
		return values, ""
	case f.isList():
		return []string{n.Value}, "want a list, [a, b]"
	case n.Kind != yaml.ScalarNode:
		return []string{n.Value}, "want a single value"
	case isNull(n):
		return []string{""}, `want a value; "" is the empty one`
	case f.isString() && n.ShortTag() != "!!str":
		return []string{n.Value}, "want a string; quote what looks like something else"
	default:
		return []string{n.Value}, ""
	}
}

func (r *fileReader) fail(n *yaml.Node, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s:%d: %s", r.file, n.Line, fmt.Sprintf(format, args...)))
}

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func orRoot(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}
