package address

import (
	"context"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// watchAgain is the pause before the kernel is asked anew to tell of changes: it stops
// where it had to drop some, for want of memory.
const watchAgain = time.Second

// Watch implements Network.
func (Kernel) Watch(ctx context.Context) <-chan struct{} {
	// One is enough: it only says that there is something to look at.
	changed := make(chan struct{}, 1)

	go func() {
		for ctx.Err() == nil {
			watchOnce(ctx, changed)

			select {
			case <-ctx.Done():
			case <-time.After(watchAgain):
			}
		}
	}()

	return changed
}

// watchOnce returns when the kernel no longer tells of changes.
func watchOnce(ctx context.Context, changed chan<- struct{}) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	context.AfterFunc(ctx, socket.Close)

	// Nobody has told of what has changed until now.
	tell(changed)

	for {
		if _, _, err := socket.Receive(); err != nil {
			return
		}

		tell(changed)
	}
}

func tell(changed chan<- struct{}) {
	select {
	case changed <- struct{}{}:
	default:
	}
}
