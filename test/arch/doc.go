// Package arch holds the rules of the house as tests: who may import whom, what a package must have,
// and that links in the documents lead somewhere. It reads the tree and changes nothing.
//
// The rules stand in rules_test.go as tables; each names why it is there.
package arch
