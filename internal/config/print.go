package config

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Defaults returns a configuration file that changes nothing: every setting with its default, what it does and its
// rules. The error is a mistake in the declaration of *root, which Defaults sets to its defaults.
func Defaults(root any) (string, error) {
	s, err := schemaOf(root)
	if err != nil {
		return "", err
	}
	for _, v := range s.defaults() {
		if err := v.apply(); err != nil {
			return "", err
		}
	}
	return s.yaml(true)
}

// Print returns the settings in effect as YAML, secrets masked.
func Print(root any) (string, error) {
	s, err := schemaOf(root)
	if err != nil {
		return "", err
	}
	return s.yaml(false)
}

// Help returns all flags with their variables and defaults, ready for the end of a usage text. The error is a mistake
// in the declaration of *root.
func Help(root any) (string, error) {
	s, err := schemaOf(root)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("  --config FILE  (" + EnvPrefix + "CONFIG)\n      Read settings from this YAML file.\n")
	for _, f := range s.fields {
		f.help(&b)
	}
	return b.String(), nil
}

func (f *field) help(b *strings.Builder) {
	b.WriteString("  --" + f.name())
	if !f.isBool() {
		b.WriteString(" VALUE")
	}
	b.WriteString("  (" + f.env())
	if f.initial != "" {
		b.WriteString(", default " + f.initial)
	}
	b.WriteString(")\n      " + f.about() + "\n")
}

// about is the documentation in one line, with the rules.
func (f *field) about() string {
	if rules := f.rules(); rules != "" {
		return f.doc + " (" + rules + ")"
	}
	return f.doc
}

// yaml writes all fields in their order. Fields of one section follow each other, as they do in the struct.
func (s *schema) yaml(docs bool) (string, error) {
	var b strings.Builder
	var open []string // the keys of the sections that the last line was in
	for _, f := range s.fields {
		keys := strings.Split(f.path, ".")
		sections, key := keys[:len(keys)-1], keys[len(keys)-1]
		s.openSections(&b, open, sections, docs)
		open = sections
		indent := strings.Repeat("  ", len(sections))
		if docs {
			b.WriteString(indent + "# " + f.about() + "\n")
		}
		value, err := f.yaml()
		if err != nil {
			return "", fmt.Errorf("print %s: %w", f.path, err)
		}
		b.WriteString(indent + key + ": " + value + "\n")
	}
	return b.String(), nil
}

// openSections writes the keys of those sections that are not open yet.
func (s *schema) openSections(b *strings.Builder, open, sections []string, docs bool) {
	shared := 0
	for shared < min(len(open), len(sections)) && open[shared] == sections[shared] {
		shared++
	}
	if docs && b.Len() > 0 && (len(sections) > shared || len(open) > shared) {
		b.WriteString("\n")
	}
	for i := shared; i < len(sections); i++ {
		indent := strings.Repeat("  ", i)
		if doc := s.sections[strings.Join(sections[:i+1], ".")].doc; docs && doc != "" {
			b.WriteString(indent + "# " + doc + "\n")
		}
		b.WriteString(indent + sections[i] + ":\n")
	}
}

// yaml returns the value as it stands in a file, on one line.
func (f *field) yaml() (string, error) {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, text := range f.texts() {
		n.Content = append(n.Content, f.scalar(text))
	}
	if !f.isList() {
		n = n.Content[0]
	}
	text, err := yaml.Marshal(n)
	return strings.TrimSuffix(string(text), "\n"), err
}

// scalar returns the node for text: quoted where the type in the struct is a string, plain where it is a number.
func (f *field) scalar(text string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: text}
	if f.isString() || f.isList() {
		n.Tag, n.Style = "!!str", yaml.DoubleQuotedStyle
	}
	return n
}
