// Package app is the hall: it knows every target and every seam, and decides which implementation goes where. It is the
// only package that may. No setting is changed after loading: the chosen targets decide the seams, here.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/oceanchat/oceanchat/internal/command"
	"github.com/oceanchat/oceanchat/internal/command/backup"
	"github.com/oceanchat/oceanchat/internal/command/bench"
	"github.com/oceanchat/oceanchat/internal/command/chat"
	"github.com/oceanchat/oceanchat/internal/command/dev"
	"github.com/oceanchat/oceanchat/internal/command/doctor"
	"github.com/oceanchat/oceanchat/internal/command/recovery"
	"github.com/oceanchat/oceanchat/internal/command/trace"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/obs"
)

// Version is set when a release is built.
var Version = "dev"

// commands are what the binary does besides serving; each reads its own flags.
var commands = map[string]func(context.Context, command.Call) int{
	"chat":  chat.Main,
	"bench": bench.Main,
	"dev":   dev.Command(openSeeding),
	"trace": trace.Main,

	"doctor":  doctor.Command(planDoctor),
	"backup":  backup.Command(copyDatabase),
	"recover": recovery.Command(openRecovery),
}

// others are the variables that commands read; they may be set where the server is started, too.
var others = []string{"OCEANCHAT_PASSWORD"}

// Main runs the command line and returns the exit code, one of package command. It serves until ctx ends.
func Main(ctx context.Context, call command.Call) int {
	if len(call.Args) > 0 && commands[call.Args[0]] != nil {
		run := commands[call.Args[0]]
		call.Args = call.Args[1:]
		return run(ctx, call)
	}
	stdout, stderr := call.Out, call.Err
	var cfg Config
	loaded, err := config.Load(&cfg, config.Sources{Args: call.Args, Env: call.Env, Others: others})
	if errors.Is(err, config.ErrHelp) || err == nil && slices.Equal(loaded.Args, []string{"help"}) {
		return help(stdout, stderr)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "oceanchat: %v\nRun 'oceanchat --help' for usage.\n", err)
		return command.Usage
	}
	if run := about(loaded.Args, &cfg); run != nil {
		for _, w := range loaded.Warnings {
			_, _ = fmt.Fprintf(stderr, "oceanchat: warning: %s\n", w)
		}
		if err := run(stdout); err != nil {
			_, _ = fmt.Fprintf(stderr, "oceanchat: %v\n", err)
			return command.Failed
		}
		return command.OK
	}
	chosen, err := planOf(loaded.Args)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "oceanchat: %v\nRun 'oceanchat --help' for usage.\n", err)
		return command.Usage
	}
	log := obs.NewLogger(stderr, cfg.Logs.Format, cfg.Logs.Level)
	for _, w := range loaded.Warnings {
		log.WarnContext(ctx, "configuration", "warning", w)
	}
	if err := serve(ctx, &cfg, chosen, log, stdout); err != nil {
		log.ErrorContext(ctx, "stopped with an error", obs.Err, err)
		return command.Failed
	}
	return command.OK
}

// about returns what the binary tells of itself and its settings, by the words that ask for it; nil if they are none.
func about(words []string, cfg *Config) func(w io.Writer) error {
	switch strings.Join(words, " ") {
	case "version":
		return printVersion
	case "config check":
		return func(w io.Writer) error { return checkConfig(w, cfg) }
	case "config defaults":
		return printDefaults
	case "config doc":
		return printReference
	}
	return nil
}

func printVersion(w io.Writer) error {
	_, err := fmt.Fprintf(w, "oceanchat %s %s %s/%s\n", Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// checkConfig looks at the files that settings name; loading has checked every rule.
func checkConfig(w io.Writer, cfg *Config) error {
	_, nats := cfg.NATS.TLS.Config()
	_, redis := cfg.Redis.TLS.Config()
	if err := errors.Join(
		wrap("http.tls", cfg.HTTP.TLS.Check()), wrap("tcp.tls", cfg.TCP.TLS.Check()), wrap("ops.tls", cfg.Ops.TLS.Check()),
		wrap("nats.tls", nats), wrap("nats.credentials", readable(cfg.NATS.Credentials)), wrap("redis.tls", redis),
		wrap("grpc.tls", cfg.GRPC.TLS.Check()),
	); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, "The configuration is valid.")
	return err
}

// readable returns why a file cannot be read, if one is named.
func readable(name string) error {
	if name == "" {
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return f.Close()
}

func wrap(path string, err error) error {
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return err
}

func printDefaults(w io.Writer) error {
	text, err := config.Defaults(&Config{})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return err
}

// printReference writes the page docs/reference/configuration.md.
func printReference(w io.Writer) error {
	text, err := config.Defaults(&Config{})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, reference, text)
	return err
}

const reference = "# Settings\n\n" +
	"Every setting with its default, as a file for `--config`. [The guide](../guide/configuration.md) tells how they are set.\n" +
	"This page is generated: `make docs` renews it.\n\n```yaml\n%s```\n"

func help(stdout, stderr io.Writer) int {
	settings, err := config.Help(&Config{})
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "oceanchat: %v\n", err)
		return 1
	}
	_, _ = fmt.Fprintf(stdout, usage, strings.Join(Targets(), ", "), settings)
	return 0
}

const usage = `OceanChat is an instant-messaging platform in one binary.

Usage:
  oceanchat [settings]          run everything in this process (same as 'oceanchat all')
  oceanchat TARGET... [settings]  run these targets, on NATS, Redis and MongoDB
  oceanchat config check        check the configuration and say what is wrong
  oceanchat config defaults     print every setting with its default, as YAML
  oceanchat config doc          print the same as a page of the documentation
  oceanchat backup --to FILE    copy what one process keeps, while it runs
  oceanchat bench               measure a server and keep the account of every message ('--help' tells more)
  oceanchat chat --user NAME    log in and talk from the terminal ('--help' tells more)
  oceanchat dev seed            fill a data directory, or a cluster, with users, friends and groups ('--help' tells more)
  oceanchat doctor [TARGET...]  try everything that targets depend on, and say what is wrong ('--help' tells more)
  oceanchat recover             compare the log with the database after a loss, and mend it ('--help' tells more)
  oceanchat trace MESSAGE-ID    show where a message went, stage by stage ('--help' tells more)
  oceanchat version             print the version
  oceanchat --help              print this

Targets: %s.

Settings come from defaults, a file (--config FILE), the environment and flags; the later wins.
%s`

// makeDataDir makes the directory that everything is kept in; only its owner may look inside.
func makeDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	return nil
}
