// Package talos holds our extension against Talos itself. It is a module of its
// own, because Talos asks for other versions of what both depend on.
package talos
