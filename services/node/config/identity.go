package config

// Roles of a certificate's owner, as its subject's Organization. Whoever has a
// certificate of the cluster's CA with one of them may use the API with the
// rights of that role, and with no others.
const (
	// OrganizationAdmin may call everything.
	OrganizationAdmin = "antler:admin"
	// OrganizationReader may look.
	OrganizationReader = "antler:reader"
	// OrganizationNode is a member, its common name the node's name.
	OrganizationNode = "antler:node"
)
