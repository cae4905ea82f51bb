package server

import (
	"fmt"
	"time"
)

// clockBehind and clockAhead are by how much a clock may differ from that of the node that
// serves. One that is behind holds up writes after a failover; comparing clocks over the
// network is good to a second at worst. One that is ahead takes the cluster forward then.
const (
	clockBehind = 2 * time.Second
	clockAhead  = 5 * time.Minute
)

func (s snapshot) clockProblem(list *problemList, node string, ahead time.Duration) {
	if ahead >= -clockBehind && ahead <= clockAhead {
		return
	}

	list.warn(node, fmt.Sprintf("the clocks of %s and %s, which serves, differ by %s", node, s.authority.Holder, ahead.Abs()),
		"give both the time by NTP: a node that nothing tells the time follows the one that serves, but is never put back; "+
			"after a failover to a node whose clock is behind, what was written since can't be written to for as long").Reason = "CLOCKS_DIFFER"
}
