package server

import (
	"github.com/cosi-project/runtime/pkg/resource"

	"antler/services/address"
	"antler/services/authority"
	"antler/services/containers"
	"antler/services/kubernetes"
	"antler/services/metadata"
	"antler/services/moosefs"
	"antler/services/node"
	"antler/services/replication"
)

// meanings says what each type of resource is about, in the order of a takeover.
func meanings() map[resource.Type]string {
	return map[resource.Type]string{
		authority.AuthorityStatusType: "what the quorum has recorded, and this node's lease",
		authority.NodeReportType:      "what each node last said of itself",

		replication.ReplicaSpecType:   "the role that DRBD shall have here",
		replication.ReplicaStatusType: "DRBD as it is here",
		replication.DeviceUseType:     "who uses the replica's device here",

		metadata.MasterSpecType:   "whether mfsmaster shall serve here",
		metadata.MasterStatusType: "mfsmaster as it is here, or its step of taking over or giving up",
		metadata.BackupStatusType: "the scheduled backups of the metadata, where the cluster file asks for them (metadata.backup)",

		address.AddressSpecType:   "whether the floating address shall be here",
		address.AddressStatusType: "the floating address as it is here",

		containers.ContainerSpecType:   "a process that shall run here",
		containers.ContainerStatusType: "that process as it is",
		containers.InventoryType:       "whether all processes are known that ran here before antlerd did",

		moosefs.StatusType:           "chunks and copies, as the master on this node says",
		moosefs.ChunkStoreStatusType: "a place for chunks on this node",
		moosefs.MountStatusType:      "a mount of MooseFS on this node",
		moosefs.VolumeMountSpecType:  "a volume that shall have a mount of its own here",

		node.ConfigType:       "the node's configuration, without its secrets",
		node.ModuleStatusType: "a kernel module that is needed here",
		node.K3sStatusType:    "k3s on this node, where its configuration asks for it (node.k3s)",

		kubernetes.ProvisionerStatusType: "how far this node is in making volumes for Kubernetes's claims",
	}
}
