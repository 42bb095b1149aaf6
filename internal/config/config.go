// Package config fills a struct of settings: defaults from its tags, then a YAML file, then the environment, then
// flags; the last one wins. It knows no service: every key, variable, flag and line of help is derived from the struct.
// It never changes a setting after Load has returned, never guesses what a wrong value may have meant, and never shows
// a Secret.
//
// A setting is an exported field with these tags:
//
//	yaml:"rate_limit"    its key, required; keys of nested structs are joined with dots
//	doc:"…"              what it does, one or two sentences, required
//	default:"5s"         its default, as it would be written in the environment; none: the zero value
//	min:"1" max:"1h"     bounds, both included; for strings bounds of the length in bytes, for lists of the count
//	enum:"always,never"  the only values allowed
//	format:"addr"        empty, or host:port
//
// It may be a string, a bool, an integer, a float64, a time.Duration, a Bytes, a Secret, a list of strings, anything
// else that implements encoding.TextUnmarshaler and TextMarshaler (slog.Level does), or a struct of such fields. The
// setting api_gateway.rate_limit is OCEANCHAT_API_GATEWAY_RATE_LIMIT in the environment; its flag is
// --api-gateway-rate-limit or, as in the file, --api_gateway.rate_limit. A list is written a,b,c outside the file.
package config

import (
	"errors"
	"fmt"
)

// EnvPrefix starts the name of every variable that Load reads.
const EnvPrefix = "OCEANCHAT_"

// ErrHelp is what Load returns when the arguments ask for help; nothing has been loaded then.
var ErrHelp = errors.New("help requested")

// Sources is where settings come from besides the defaults. The zero value means the defaults alone, which is what
// tests of a single section want.
type Sources struct {
	Args []string // as os.Args[1:]
	Env  []string // as os.Environ()
	// Others are variables with our prefix that are no settings and that somebody else reads.
	Others []string
}

// Loaded is what Load found besides the settings.
type Loaded struct {
	File     string   // path of the file that was read, "" for none
	Args     []string // positional arguments, in order: targets or a command; everything after "--" is positional
	Warnings []string // one sentence each, for the log: nothing that prevents a start
}

// Load sets every field of *root, a pointer to a struct, and checks all rules. The file is named by --config or
// OCEANCHAT_CONFIG; without them none is read. The error joins everything that is wrong, each with the path of the
// setting, its value and where that came from; *root must not be used then. A variable that starts with OCEANCHAT_ but
// names no setting is a warning only, since an environment is often shared.
func Load(root any, src Sources) (Loaded, error) {
	s, err := schemaOf(root)
	if err != nil {
		return Loaded{}, err
	}
	cmdline, err := s.parseArgs(src.Args)
	if errors.Is(err, ErrHelp) {
		return Loaded{}, ErrHelp
	}
	errs := []error{err}
	env := s.parseEnv(src.Env, src.Others)
	loaded := Loaded{File: env.file, Args: cmdline.positional, Warnings: env.warnings}
	if cmdline.file != nil {
		loaded.File = *cmdline.file
	}
	var file []setting
	if loaded.File != "" {
		file, err = s.parseFile(loaded.File)
		errs = append(errs, err)
	}
	for _, settings := range [][]setting{s.defaults(), file, env.settings, cmdline.settings} {
		for _, v := range settings {
			errs = append(errs, v.apply())
		}
	}
	return loaded, errors.Join(append(errs, s.validate())...)
}

// Validate checks the rules of *root's tags, and calls Validate() error of every nested struct that has it, also when
// a rule of its tags is broken. The error joins all broken rules, each with its path and value. Load has done this
// already; Validate is for settings made by hand.
func Validate(root any) error {
	s, err := schemaOf(root)
	if err != nil {
		return err
	}
	return s.validate()
}

// A setting is a value for a field on its way from one source.
type setting struct {
	field  *field
	values []string // exactly one unless the field is a list
	source string
}

// apply stores the value, or says why it cannot be one of the field's type.
func (v setting) apply() error {
	v.field.source = v.source
	if err := v.field.set(v.values); err != nil {
		return v.field.problem(v.values, err.Error())
	}
	return nil
}

// problem is the one form in which a bad value is reported.
func (f *field) problem(values []string, rule string) error {
	source := ""
	if f.source != "" {
		source = " (" + f.source + ")"
	}
	return fmt.Errorf("%s = %s%s: %s", f.path, f.quote(values), source, rule)
}
