package redis

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

const (
	entrySep = "\x1e" // between the entries of a record
	fieldSep = "\x1f" // between the fields of an entry
	lifeSep  = "~"    // between a gateway and the nonce of a life
)

// The bytes that a record uses are written as %XX in fields, so that no id can break out of its own. Ids from the
// public contract have none of them.
var (
	escaper   = strings.NewReplacer("%", "%25", entrySep, "%1E", fieldSep, "%1F")
	unescaper = strings.NewReplacer("%25", "%", "%1E", entrySep, "%1F", fieldSep)
)

func esc[S ~string](s S) string { return escaper.Replace(string(s)) }

func unesc(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	return unescaper.Replace(s)
}

// rest is the part of an entry that scripts do not read.
func rest(c faststate.Conn) string {
	return esc(c.SessionID) + fieldSep + strconv.Itoa(int(c.Platform)) + fieldSep + strconv.Itoa(int(c.Status))
}

// parseEntry returns the connection of an entry and the life that it belongs to. Fields behind those that are known are a
// newer version's and are passed over.
func parseEntry(user chat.UserID, e string) (conn faststate.Conn, life string, err error) {
	var f [7]string
	for i := range f {
		var more bool
		if f[i], e, more = strings.Cut(e, fieldSep); !more && i < len(f)-1 {
			return conn, "", fmt.Errorf("presence of %s: an entry that has less than %d fields", user, len(f))
		}
	}
	since, err1 := strconv.ParseInt(f[3], 10, 64)
	platform, err2 := strconv.ParseInt(f[5], 10, 32)
	status, err3 := strconv.ParseInt(f[6], 10, 8)
	if err := cmp.Or(err1, err2, err3); err != nil {
		return conn, "", fmt.Errorf("presence of %s: %w", user, err)
	}
	return faststate.Conn{
		UserID: user, DeviceID: chat.DeviceID(unesc(f[1])), SessionID: chat.SessionID(unesc(f[4])),
		GatewayID: gatewayOf(f[0]), ConnectionID: chat.ConnectionID(unesc(f[2])),
		Platform: int32(platform), Status: faststate.Status(status), Since: time.UnixMicro(since),
	}, f[0], nil
}

// gatewayOf returns the gateway whose life it is.
func gatewayOf(life string) chat.GatewayID {
	return chat.GatewayID(unesc(life[:max(strings.LastIndex(life, lifeSep), 0)]))
}
