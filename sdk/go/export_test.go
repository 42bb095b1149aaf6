package oceanchat

import "time"

// SetClock gives the client another wall clock: the one of a bubble cannot be set. Call it before Start.
func (c *Client) SetClock(now func() time.Time) { c.clock = now }
