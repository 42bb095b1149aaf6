package local

import (
	"context"
	"io"
	"net"
	"sync"
)

// splice passes bytes between clients and instances.
func (f *front) splice(ctx context.Context, p *pool) {
	for {
		client, err := f.tcp.Accept()
		if err != nil {
			return // closed
		}
		f.wg.Go(func() {
			defer func() { _ = client.Close() }()
			var d net.Dialer
			for _, addr := range p.order() {
				server, err := d.DialContext(ctx, "tcp", addr)
				if err == nil {
					join(client.(*caller), server.(*net.TCPConn))
					return
				}
			}
		})
	}
}

// join copies both ways until the instance ends the connection; it hears when the client does.
func join(client *caller, server *net.TCPConn) {
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.CloseWrite()
	})
	_, _ = io.Copy(client, server)
	_ = client.Close()
	wg.Wait()
	_ = server.Close()
}
