package authority

import "fmt"

// Code is why a command was rejected, as data: it crosses the wire, and callers
// test for it with errors.Is(err, authority.ErrStaleEpoch).
type Code string

// The codes of all rejections.
const (
	// ErrUnknownCommand: a kind or version that this node doesn't know.
	ErrUnknownCommand Code = "unknown-command"
	// ErrMalformed: bytes that aren't a command, or one with missing or
	// impossible fields.
	ErrMalformed Code = "malformed"
	// ErrNoConsent: nothing may happen before the consent is recorded.
	ErrNoConsent Code = "no-consent"
	// ErrAlreadyConsented: consent is given once in a cluster's life.
	ErrAlreadyConsented Code = "already-consented"
	// ErrAlreadyFormatted: the file system exists; nobody formats again.
	ErrAlreadyFormatted Code = "already-formatted"
	// ErrStaleEpoch: the command was decided in an epoch that is over.
	ErrStaleEpoch Code = "stale-epoch"
	// ErrNotHolder: only the holder of the current epoch may say this.
	ErrNotHolder Code = "not-holder"
	// ErrHolder: not about the holder itself.
	ErrHolder Code = "is-holder"
	// ErrNotReplica: the node holds no replica.
	ErrNotReplica Code = "not-replica"
	// ErrNotUpToDate: the replica lacks acknowledged writes.
	ErrNotUpToDate Code = "not-up-to-date"
	// ErrUpToDate: the replica has every acknowledged write.
	ErrUpToDate Code = "up-to-date"
	// ErrStaleObservation: a later observation of the peer is on record.
	ErrStaleObservation Code = "stale-observation"
	// ErrOldVersion: lower than a meta version that was served.
	ErrOldVersion Code = "old-version"
	// ErrForeignMetadata: another metadata id than the one that was served.
	ErrForeignMetadata Code = "foreign-metadata"
	// ErrHoldTooLong: more than MaxHold.
	ErrHoldTooLong Code = "hold-too-long"
	// ErrNobodySigned: a person's command without who and why.
	ErrNobodySigned Code = "nobody-signed"
	// ErrStaleRun: antlerd on that node was restarted since it said this.
	ErrStaleRun Code = "stale-run"
	// ErrStaleTerm: the leader that decided it doesn't lead any more.
	ErrStaleTerm Code = "stale-term"
	// ErrLeaseRunning: the holder may still serve; not a rule of the record but
	// of the leader, who alone knows.
	ErrLeaseRunning Code = "lease-running"
	// ErrDead: the node was recorded as dead in this boot of it.
	ErrDead Code = "dead"
	// ErrCannotReplace: the store of this voter can't be replaced, or not now.
	ErrCannotReplace Code = "cannot-replace"
)

// Error implements error.
func (c Code) Error() string { return string(c) }

// Rejection is a definite no: the command was not applied and will not be. Any
// other error of a proposal means that nobody knows yet.
type Rejection struct {
	Code   Code
	Detail string
}

// Error implements error.
func (r *Rejection) Error() string { return fmt.Sprintf("%s (%s)", r.Detail, r.Code) }

// Unwrap makes errors.Is find the code.
func (r *Rejection) Unwrap() error { return r.Code }

func reject(code Code, format string, args ...any) error {
	return &Rejection{Code: code, Detail: fmt.Sprintf(format, args...)}
}
