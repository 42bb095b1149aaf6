// Command oceanchat is the whole platform: without arguments every service runs in this process.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/oceanchat/oceanchat/internal/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
	}()
	os.Exit(app.Main(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}
