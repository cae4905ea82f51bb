// Command antler-fence is DRBD's handler. The kernel starts it, also where a replica
// has lost its peer: it asks the quorum, through the antlerd that runs, whether writes
// may go on.
package main

import (
	"os"

	"antler/services/replication/handler"
)

func main() { os.Exit(handler.Main(os.Args[1:], os.Getenv, handler.Socket)) }
