package arch_test

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// module is the path that all our imports begin with.
const module = "github.com/oceanchat/oceanchat"

// pkg is one package of the tree: its path below the module and what its files import, in full.
type pkg struct {
	path        string
	imports     []string
	testImports []string
}

// checkImports returns one line per import that breaks layers, fences or the rule of *test packages.
// Tests are bound by the fences only: they may use the real implementations as their fakes.
func checkImports(pkgs []pkg, layers []layer, fences []fence) []string {
	var broken []string
	for _, p := range pkgs {
		if isTestSupport(p.path) {
			continue
		}
		for _, imp := range p.imports {
			broken = append(broken, checkTestSupport(p, imp)...)
			broken = append(broken, checkFences(p, imp, fences, false)...)
		}
		broken = append(broken, checkLayer(p, layers)...)
		for _, imp := range p.testImports {
			broken = append(broken, checkFences(p, imp, fences, true)...)
		}
	}
	slices.Sort(broken)
	return slices.Compact(broken)
}

// checkLayer holds p to the first line of the table that names it.
func checkLayer(p pkg, layers []layer) []string {
	i := slices.IndexFunc(layers, func(l layer) bool { return match(l.from, p.path) })
	if i < 0 {
		return []string{p.path + " has no place in the table of layers"}
	}
	l := layers[i]
	var broken []string
	for _, imp := range p.imports {
		local, ours := strings.CutPrefix(imp, module+"/")
		own := strings.HasSuffix(l.from, "/...") && match(l.from, local)
		allowed := ours && (own || matchAny(l.may, local)) || !ours && (isStd(imp) || !l.stdOnly)
		if !allowed && !(ours && isTestSupport(local)) { // of test packages checkTestSupport speaks
			broken = append(broken, fmt.Sprintf("%s must not import %s (%s)", p.path, imp, l.why))
		}
	}
	return broken
}

func checkFences(p pkg, imp string, fences []fence, inTest bool) []string {
	var broken []string
	for _, f := range fences {
		if inTest && matchAny(f.tests, p.path) {
			continue
		}
		if (imp == f.what || strings.HasPrefix(imp, f.what+"/")) && !matchAny(f.only, p.path) {
			broken = append(broken, fmt.Sprintf("%s must not import %s (%s)", p.path, imp, f.why))
		}
	}
	return broken
}

func checkTestSupport(p pkg, imp string) []string {
	if local, ours := strings.CutPrefix(imp, module+"/"); ours && isTestSupport(local) {
		return []string{fmt.Sprintf("%s must not import %s (only test files import test packages)", p.path, imp)}
	}
	return nil
}

// checkPatterns fails patterns that name no package, unless they are expected later, and expected
// ones that have come.
func checkPatterns(pkgs []pkg, patterns, notYet []string) []string {
	exists := func(pattern string) bool {
		return slices.ContainsFunc(pkgs, func(p pkg) bool { return match(pattern, p.path) })
	}
	var broken []string
	for _, pattern := range patterns {
		if !exists(pattern) && !slices.Contains(notYet, pattern) {
			broken = append(broken, pattern+" names no package any more: correct the rule")
		}
	}
	for _, pattern := range notYet {
		switch {
		case exists(pattern):
			broken = append(broken, pattern+" exists now: take it out of notYet")
		case !slices.Contains(patterns, pattern):
			broken = append(broken, pattern+" stands in notYet but in no rule: take it out")
		}
	}
	slices.Sort(broken)
	return slices.Compact(broken)
}

// patterns lists every pattern of the tables.
func patterns(layers []layer, fences []fence) []string {
	var all []string
	for _, l := range layers {
		all = append(all, l.from)
		all = append(all, l.may...)
	}
	for _, f := range fences {
		all = append(all, f.only...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// isTestSupport reports whether a package exists for tests only: storetest, or anything below test/.
func isTestSupport(p string) bool {
	return strings.HasPrefix(p, "test/") || strings.HasSuffix(path.Base(p), "test") && path.Base(p) != "test"
}

func match(pattern, p string) bool {
	if below, deep := strings.CutSuffix(pattern, "/..."); deep {
		return p == below || strings.HasPrefix(p, below+"/")
	}
	if above, children := strings.CutSuffix(pattern, "/*"); children {
		return path.Dir(p) == above
	}
	return p == pattern
}

func matchAny(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return match(pattern, p) })
}

// isStd reports whether an import path is of the standard library: its first part has no dot.
func isStd(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".")
}
