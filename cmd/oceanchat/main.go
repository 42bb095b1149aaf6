// Command oceanchat is the whole platform: without arguments every service runs in this process.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/oceanchat/oceanchat/internal/app"
	"github.com/oceanchat/oceanchat/internal/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
	}()
	os.Exit(app.Main(ctx, command.Call{
		Args: os.Args[1:], Env: os.Environ(), In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Version: app.Version,
	}))
}
