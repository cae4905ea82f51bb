// Package version carries the version that the build was given.
package version

// Version of this build: `git describe`, set by the linker.
var Version = "dev"
