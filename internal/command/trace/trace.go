// Package trace is the command 'oceanchat trace': it asks a running server where a message went, over all its
// processes, and prints the answer stage by stage. It only asks the operations port; it changes nothing.
package trace

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/command"
	"github.com/oceanchat/oceanchat/internal/journey"
)

const (
	patience = 10 * time.Second // of the whole look-up
	maxBody  = 256 << 20
)

const intro = `Usage: oceanchat trace <messageId> [flags]

Shows where a message went: when it was accepted, committed and stored, and for each device when it was routed, pushed
and acknowledged, or what came of its notification. Any process of a cluster knows what all of them know.
It ends with status 1 if nobody knows the message.

`

type options struct {
	message string
	ops     string
	json    bool
}

// Main runs the command and returns an exit code of package command.
func Main(ctx context.Context, call command.Call) int {
	o, err := parse(call.Args, call.Out)
	if errors.Is(err, flag.ErrHelp) {
		return command.OK
	}
	if err != nil {
		_, _ = fmt.Fprintf(call.Err, "oceanchat trace: %v\nRun 'oceanchat trace --help' for usage.\n", err)
		return command.Usage
	}
	body, r, err := ask(ctx, o)
	if err != nil {
		_, _ = fmt.Fprintf(call.Err, "oceanchat trace: %v\n", err)
		return command.Failed
	}
	if o.json {
		_, _ = call.Out.Write(body)
	}
	if len(r.Steps) == 0 {
		_, _ = fmt.Fprint(call.Err, unknown(r))
		return command.Failed
	}
	if !o.json {
		err = show(call.Out, r)
	}
	if err != nil {
		return command.Failed
	}
	return command.OK
}

// parse reads the command line; the id may stand before or behind the flags.
func parse(args []string, help io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("trace", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.ops, "ops", "http://127.0.0.1:9090", "`URL` of the operations port of any process")
	f.BoolVar(&o.json, "json", false, "print the answer as JSON")
	var words []string
	for rest := args; ; {
		if err := f.Parse(rest); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				_, _ = io.WriteString(help, intro)
				f.SetOutput(help)
				f.PrintDefaults()
			}
			return o, err
		}
		if f.NArg() == 0 {
			break
		}
		words, rest = append(words, f.Arg(0)), f.Args()[1:]
	}
	if len(words) != 1 {
		return o, fmt.Errorf("want one message's id, not %d", len(words))
	}
	o.message = words[0]
	if _, ok := chat.MessageID(o.message).Seq(); !ok {
		return o, fmt.Errorf("%q is no message's id", o.message)
	}
	u, err := url.Parse(o.ops)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return o, fmt.Errorf("--ops %q: want an http or https URL", o.ops)
	}
	return o, nil
}

// ask returns the answer of the operations port, as it came and decoded.
func ask(ctx context.Context, o options) ([]byte, journey.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var r journey.Report
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(o.ops, "/")+"/trace/"+o.message, nil)
	if err != nil {
		return nil, r, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, r, fmt.Errorf("ask the operations port (ops.addr; --ops says which): %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, r, fmt.Errorf("read the answer of %s: %w", o.ops, err)
	}
	json404 := resp.StatusCode == http.StatusNotFound && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json")
	if resp.StatusCode != http.StatusOK && !json404 {
		return nil, r, fmt.Errorf("%s answered %s; is it the operations port of an OceanChat of this version?", o.ops, resp.Status)
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, r, fmt.Errorf("read the answer of %s: %w", o.ops, err)
	}
	return body, r, nil
}

// unknown says why nothing is known.
func unknown(r journey.Report) string {
	if len(r.Processes) == 0 {
		return fmt.Sprintf("Nobody remembers where messages went: journey.events is 0.%s\n", problem(r))
	}
	return fmt.Sprintf("Nobody knows message %s: either it was never sent, or it went its way before what is remembered.\n%s", r.MessageID, memory(r))
}

func problem(r journey.Report) string {
	if r.Problem == "" {
		return ""
	}
	return " Only one process was asked: " + r.Problem + "."
}
