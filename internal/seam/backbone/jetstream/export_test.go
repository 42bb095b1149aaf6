package jetstream

import "context"

// ConnectedURL returns the address of the server that b is connected to.
func (b *Backbone) ConnectedURL() string { return b.conn.ConnectedUrl() }

// LeaveLost runs what Run runs while it serves; Run itself wants more of the servers than a test's have.
func (b *Backbone) LeaveLost(ctx context.Context) { b.leaveLost(ctx) }

// Close ends the connection.
func (b *Backbone) Close() { b.conn.Close() }
