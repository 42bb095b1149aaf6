package arch_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestImports(t *testing.T) {
	t.Parallel()
	pkgs := readTree(t).packages()
	if len(pkgs) < 10 {
		t.Fatalf("only %d packages found below %s; the walk is broken", len(pkgs), root)
	}
	for _, broken := range checkImports(pkgs, layers, fences) {
		t.Error(broken)
	}
}

func TestRulesNamePackagesThatExist(t *testing.T) {
	t.Parallel()
	for _, broken := range checkPatterns(readTree(t).packages(), patterns(layers, fences), notYet) {
		t.Error(broken)
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	for _, broken := range readTree(t).checkSource() {
		t.Error(broken)
	}
}

// TestDocumentLinks follows the links of all documents to files of this repository.
func TestDocumentLinks(t *testing.T) {
	t.Parallel()
	for _, doc := range documents(t) {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range links(string(text)) {
			target := filepath.Join(filepath.Dir(doc), filepath.FromSlash(link))
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not there", strings.TrimPrefix(doc, root+"/"), link)
			}
		}
	}
}

// documents lists README.md and its neighbours, all of docs/ and the notes of other folders.
func documents(t *testing.T) []string {
	t.Helper()
	var docs []string
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != root && skipDir(name, d.Name()):
			return filepath.SkipDir
		case !d.IsDir() && strings.HasSuffix(name, ".md"):
			docs = append(docs, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

var (
	fenced = regexp.MustCompile("(?ms)^[ \t]*```.*?^[ \t]*```[ \t]*$")
	quoted = regexp.MustCompile("`[^`\n]*`")
	inline = regexp.MustCompile(`\]\(\s*(?:<([^>\n]+)>|([^)\s]+))[^)\n]*\)`)
	byName = regexp.MustCompile(`(?m)^\[[^\]\n]+\]:[ \t]*(\S+)`)
	scheme = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]*:`)
)

// links returns the targets of a Markdown text that are files, without their fragments.
func links(text string) []string {
	text = quoted.ReplaceAllString(fenced.ReplaceAllString(text, ""), "")
	var targets []string
	for _, m := range inline.FindAllStringSubmatch(text, -1) {
		targets = append(targets, m[1]+m[2])
	}
	for _, m := range byName.FindAllStringSubmatch(text, -1) {
		targets = append(targets, m[1])
	}
	var files []string
	for _, target := range targets {
		file, _, _ := strings.Cut(target, "#")
		if file != "" && !scheme.MatchString(target) {
			files = append(files, file)
		}
	}
	return files
}
