// Package files knows mfsmaster's metadata as it lies on a disk: how far a
// directory of metadata files and changelogs goes, what of it is torn or missing,
// and how to take a copy of it that mfsmaster can start from. It runs nothing and
// knows nothing of clusters, so antlerctl uses it too.
package files
