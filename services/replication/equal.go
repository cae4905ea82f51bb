package replication

import "context"

// PeerUpToDate asks the kernel afresh whether the replicas are connected and
// both up to date.
func (d DRBD) PeerUpToDate(ctx context.Context) (bool, error) {
	if d.nine() {
		return d.peerUpToDateNine(ctx)
	}

	lines, err := d.Statistics(ctx)
	if err != nil {
		return false, err
	}

	k := replay(lines)

	return k.connection == connected && k.disk == diskUpToDate && k.peerDisk == diskUpToDate, nil
}
