package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// commandLine is what the arguments say.
type commandLine struct {
	settings   []setting
	positional []string
	file       *string // value of --config, nil when it is not there
}

// parseArgs reads flags and positional arguments, in any order. A value that starts with "--" must be attached with
// "=", so that a forgotten value does not swallow the next flag. Only two dashes make a flag.
func (s *schema) parseArgs(args []string) (commandLine, error) {
	var c commandLine
	var errs []error
	for i := 0; i < len(args); i++ {
		arg := args[i]
		name, isFlag := strings.CutPrefix(arg, "--")
		switch {
		case arg == "--":
			c.positional = append(c.positional, args[i+1:]...)
			return c, errors.Join(errs...)
		case arg == "-h" || arg == "--help":
			return c, ErrHelp
		case !isFlag && strings.HasPrefix(arg, "-") && arg != "-":
			errs = append(errs, unknownFlag(arg))
		case !isFlag:
			c.positional = append(c.positional, arg)
		default:
			used, err := s.parseFlag(&c, name, args[i+1:])
			errs = append(errs, err)
			i += used
		}
	}
	return c, errors.Join(errs...)
}

// parseFlag reads one flag, given without its dashes, and returns how many of the arguments behind it were its value.
func (s *schema) parseFlag(c *commandLine, arg string, rest []string) (used int, err error) {
	name, value, attached := strings.Cut(arg, "=")
	f := s.byName[nameOf(name)]
	switch {
	case f == nil && name != "config":
		return 0, unknownFlag("--" + name)
	case attached:
	case f != nil && f.isBool():
		value = "true"
	case len(rest) == 0 || strings.HasPrefix(rest[0], "--"):
		return 0, fmt.Errorf("flag --%s: want a value", name)
	default:
		value, used = rest[0], 1
	}
	if f == nil {
		c.file = &value
		return used, nil
	}
	c.settings = append(c.settings, setting{f, f.split(value), "flag --" + name})
	return used, nil
}

func unknownFlag(flag string) error {
	flag, _, _ = strings.Cut(flag, "=") // the value may be a secret
	return fmt.Errorf("unknown flag %s; --help lists all", flag)
}

// environment is what the variables say.
type environment struct {
	settings []setting
	file     string
	warnings []string
}

// parseEnv reads the variables with our prefix. An empty one sets the empty value: that is how a listener is turned
// off by environment.
func (s *schema) parseEnv(env, others []string) environment {
	var e environment
	for _, kv := range env {
		key, value, _ := strings.Cut(kv, "=")
		name, ours := strings.CutPrefix(key, EnvPrefix)
		if !ours {
			continue
		}
		f := s.byName[nameOf(strings.ToLower(name))]
		switch {
		case name == "CONFIG":
			e.file = value
		case slices.Contains(others, key):
		case f == nil || f.env() != key:
			e.warnings = append(e.warnings, fmt.Sprintf("environment variable %s names no setting", key))
		default:
			e.settings = append(e.settings, setting{f, f.split(value), "environment " + key})
		}
	}
	return e
}
