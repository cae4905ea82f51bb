// Package gen makes a cluster's files from one small cluster file: the CA with
// the cluster's secrets, a configuration for each node, and one each for an
// administrator and a reader.
//
// Making them again keeps the CA and the secrets and renews the certificates:
// so adding a node, or prolonging certificates, is the same command as the
// first time. Everything is validated before the first file is written, with
// the very code that antlerd validates with.
package gen
