#!/bin/sh
# A CNI plugin for pods that need an address in their status and no network: what is
# asked of them comes through kubelet.
cat > /dev/null
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0"]}' ;;
ADD)
	cat <<-END
	{"cniVersion": "1.0.0", "interfaces": [{"name": "$CNI_IFNAME", "mac": "02:00:00:00:00:02", "sandbox": "$CNI_NETNS"}],
	 "ips": [{"interface": 0, "address": "192.0.2.2/32"}]}
	END
	;;
esac
