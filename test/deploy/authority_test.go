package deploy_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var mounted = regexp.MustCompile(`/(?:run/secrets|etc/oceanchat)/\S+`)

// withFiles replaces the paths of mounted files in text, by files with certificates and keys that are there.
func withFiles(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	(&cluster{}).certificates(t, dir)
	return mounted.ReplaceAllStringFunc(text, func(path string) string {
		if strings.HasSuffix(path, "ca.crt") {
			return filepath.Join(dir, "ca.crt")
		}
		return filepath.Join(dir, "tls"+filepath.Ext(path))
	})
}
