// Command mongostandin runs the server that stands in for MongoDB on a developer's machine until it is stopped.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/oceanchat/oceanchat/tools/mongostandin/standin"
)

func main() {
	port := flag.Int("port", 27017, "port on 127.0.0.1, 0 for any")
	flag.Parse()
	s, err := standin.Start(context.Background(), *port)
	if err == nil {
		fmt.Println(s.URI)
		err = s.Wait()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mongostandin:", err)
		os.Exit(1)
	}
}
