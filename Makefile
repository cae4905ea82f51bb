# Antler. `make` prints the targets. Everything made lands under build/.

SHELL       := /bin/bash
GO          ?= go
BUILD       := build
TOOLS       := $(BUILD)/tools
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS     := -s -w -X antler/services/node/version.Version=$(VERSION)
UNIT        := ./api/... ./cmd/... ./deploy/... ./extension/... ./image/... ./services/... ./qemu-tests/...

# make image K3S=/path/or/URL K3S_VERSION=v1.33.1+k3s1 K3S_SHA256=... [K3S_CA=/path/to/certificates.pem]
K3S_FLAGS   := $(if $(K3S)$(K3S_VERSION)$(K3S_SHA256)$(K3S_CA),-k3s '$(K3S)' -k3s-version '$(K3S_VERSION)' -k3s-sha256 '$(K3S_SHA256)' -k3s-ca '$(K3S_CA)')

GOLANGCI    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.6.0

.DEFAULT_GOAL := help

.PHONY: help
help: ## Print the targets
	@grep -hE '^[a-z][a-zA-Z0-9_-]*:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'



.PHONY: demo
demo: packages build image ## Boot a cluster of three in QEMU, cut the serving node's power, show that nothing is lost
	$(BUILD)/bin/demo up

.PHONY: demo-stop
demo-stop: ## End what `make demo` left running
	@if [ -x $(BUILD)/bin/demo ]; then $(BUILD)/bin/demo down; else echo "no demo was built, so none runs"; fi

.PHONY: test
test: packages check unit test-failover ## What guards a change: linters, unit tests, first boot and every promise about failover in VMs



.PHONY: packages
packages: ## Install the Debian packages that builds and tests need (asks apt only for what is missing)
	scripts/install-packages

.PHONY: build
build: ## Build antlerd, its fence handler and antlerctl for the nodes (arm64) and antlerctl and the lab for this machine
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BUILD)/bin/arm64/ ./cmd/...
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO) build -trimpath -ldflags '-s -w' -o $(BUILD)/lab/ ./qemu-tests/lab/agent
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BUILD)/bin/ ./cmd/antlerctl ./qemu-tests/demo

.PHONY: image
image: build ## Build the arm64 disk image that QEMU boots (K3S= with K3S_VERSION= and K3S_SHA256= puts k3s in)
	$(GO) run ./image -o $(BUILD)/image -bin $(BUILD)/bin/arm64 -cache $(BUILD)/cache -version $(VERSION) $(K3S_FLAGS)

.PHONY: image-release
image-release: packages build ## Build antler-VERSION-arm64.img.xz, from exactly the locked packages, in build/release
	$(GO) run ./image -o $(BUILD)/release -bin $(BUILD)/bin/arm64 -cache $(BUILD)/cache -version $(VERSION) -compress zstd -strict -release $(K3S_FLAGS)

.PHONY: image-lock
image-lock: packages ## Pin the image's Debian packages anew: the versions that the archive has today
	$(GO) run ./image -update-lock -cache $(BUILD)/cache

# EXTENSION_FLAGS="-arch arm64 -modules .../lib/modules/RELEASE" adds DRBD for a kernel of your own.
.PHONY: extension
extension: build ## Build the Talos system extension (arm64 and amd64) and check it
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BUILD)/bin/amd64/ ./cmd/antlerd ./cmd/antler-fence
	$(GO) run ./extension -o $(BUILD)/extension -bin $(BUILD)/bin -cache $(BUILD)/cache -version $(VERSION) $(EXTENSION_FLAGS)

.PHONY: test-extension
test-extension: extension ## Build the extension twice and compare; its programs find their libraries
	$(GO) test -tags packages -count=1 -v ./extension/...

.PHONY: test-talos-pack
test-talos-pack: extension ## Have Talos's own imager packages take the extension into an initramfs
	cd qemu-tests/talos/pack && ANTLER_EXTENSION=$(abspath $(BUILD)/extension) $(GO) test -count=1 -v ./...

# TALOS_FLAGS=-allow-expired where the mirror's lists are older than the archive allows.
.PHONY: talos-node
talos-node: packages build ## Build Talos from its module (once, which takes minutes), and a node of it with the extension and DRBD 8.4
	programs=$$(scripts/build-talos) && $(GO) run ./qemu-tests/talos/node -o $(BUILD)/talos -cache $(BUILD)/cache -programs $$programs $(TALOS_FLAGS)
	$(GO) run ./extension -o $(BUILD)/talos-extension -bin $(BUILD)/bin -cache $(BUILD)/cache -version $(VERSION) \
		-arch arm64 -modules $(BUILD)/talos/modules/$$(cat $(BUILD)/talos/release)
	cd qemu-tests/talos/pack && $(GO) run . -extension $(abspath $(BUILD)/talos-extension/oci) \
		-from $(abspath $(BUILD)/talos/initramfs.zst) -o $(abspath $(BUILD)/talos/initramfs-antler.zst)

# The next version of the extension, to upgrade to.
.PHONY: talos-node-next
talos-node-next: talos-node build-next
	$(GO) run ./extension -o $(BUILD)/next/talos-extension -bin $(BUILD)/next/bin -cache $(BUILD)/cache -version $(VERSION)-next \
		-arch arm64 -modules $(BUILD)/talos/modules/$$(cat $(BUILD)/talos/release)
	cd qemu-tests/talos/pack && $(GO) run . -extension $(abspath $(BUILD)/next/talos-extension/oci) \
		-from $(abspath $(BUILD)/talos/initramfs.zst) -o $(abspath $(BUILD)/talos/initramfs-antler-next.zst)

.PHONY: test-talos
test-talos: talos-node-next ## The extension on real Talos, in VMs: a cluster, a power cut of the serving node, an upgrade
	ANTLER_TALOS=$$(scripts/build-talos) $(GO) test -tags vm -count=1 -v -timeout 60m ./qemu-tests/talos

.PHONY: unit
unit: ## Unit tests with the race detector
	$(GO) test -race -timeout 4m $(UNIT)

.PHONY: test-powercut
test-powercut: build image ## First boot from blank disks, and a power cut of the serving node, in VMs
	$(GO) test -tags vm -count=1 -v -timeout 30m -run 'TestPowerCutOfTheServingNode' ./qemu-tests/failover/...

# The next version, to upgrade to: the same sources under another name.
.PHONY: build-next
build-next: build
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO) build -trimpath -ldflags '-s -w -X antler/services/node/version.Version=$(VERSION)-next' -o $(BUILD)/next/bin/arm64/ ./cmd/...

.PHONY: image-next
image-next: build-next
	$(GO) run ./image -o $(BUILD)/next/image -bin $(BUILD)/next/bin/arm64 -cache $(BUILD)/cache -version $(VERSION)-next $(K3S_FLAGS)

.PHONY: test-image
test-image: build image image-next ## The image: built twice to the same bytes, flashed, booted and upgraded in VMs
	$(GO) test -tags vm -count=1 -v -timeout 40m ./qemu-tests/image/...

.PHONY: test-failover
test-failover: build image ## Every promise about failover, in VMs that boot the image (long)
	$(GO) test -tags vm -count=1 -v -timeout 55m -skip '^TestPlanned' ./qemu-tests/failover/...

.PHONY: test-planned
test-planned: build image ## Restarts, shutdowns, cold starts, lost and used disks, antlerctl's commands, in VMs (long)
	REPORT=planned $(GO) test -tags vm -count=1 -v -timeout 80m -run '^TestPlanned' ./qemu-tests/failover/...

.PHONY: test-faults
test-faults: build image ## Every fault alone on each machine, and power cuts in each step, in VMs under load (ONLY='clock|at auth' picks some, TIMES=5 repeats them)
	ONLY='$(ONLY)' TIMES=$(TIMES) $(GO) test -tags vm -count=1 -v -timeout 0 -run 'TestEveryFault' ./qemu-tests/faults/...

.PHONY: test-first-boot
test-first-boot: build image ## Power cuts in each step of making a cluster of blank disks, in VMs (ONLY=mounted picks some)
	ONLY='$(ONLY)' $(GO) test -tags vm -count=1 -v -timeout 0 -run 'TestFirstBoot' ./qemu-tests/faults/...

.PHONY: soak
soak: build image ## Random faults in VMs under load: HOURS=n or DURATION=10m says how long, SEED= chooses the plan
	SEED=$(SEED) DURATION=$(or $(DURATION),$(if $(HOURS),$(HOURS)h)) $(GO) test -tags vm -count=1 -v -timeout 0 -run 'TestRandomFaults' ./qemu-tests/faults/...

.PHONY: test-recovery
test-recovery: build image ## Lose hardware for good in VMs, and go the ways that docs/recovery.md describes
	$(GO) test -tags vm -count=1 -v -timeout 60m -run 'TestHardwareLost' ./qemu-tests/faults/...

.PHONY: csi-sanity
csi-sanity:
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO) build -trimpath -ldflags '-s -w' -o $(BUILD)/lab/ ./qemu-tests/kubernetes/csi-sanity

.PHONY: test-kubernetes
test-kubernetes: build image csi-sanity ## Kubernetes on a real MooseFS, in VMs that boot the image: csi-sanity, claims, pods, power cuts under both (long; KUBERNETES=Pod runs what is called so, CLAIMS=500 is how large the storm is)
	plane=$$(scripts/build-controlplane) && kubelet=$$(scripts/build-controlplane kubelet) && crds=$$(scripts/build-controlplane crds) && \
		ANTLER_CONTROLPLANE=$$plane ANTLER_KUBELET=$$kubelet ANTLER_CRDS=$$crds CLAIMS=$(CLAIMS) $(GO) test -tags vm -count=1 -v -timeout 90m -run 'TestKubernetes/$(KUBERNETES)' ./qemu-tests/kubernetes

.PHONY: test-kubernetes-external
test-kubernetes-external: build image csi-sanity ## Kubernetes's own tests of a storage driver, in VMs (hours; FOCUS='subPath|snapshot' picks some, EXTERNAL_TIME=1h ends and fails them)
	plane=$$(scripts/build-controlplane) && kubelet=$$(scripts/build-controlplane kubelet) && crds=$$(scripts/build-controlplane crds) && e2e=$$(scripts/build-controlplane e2e) && \
		ANTLER_CONTROLPLANE=$$plane ANTLER_KUBELET=$$kubelet ANTLER_CRDS=$$crds ANTLER_E2E=$$e2e $(GO) test -tags vm -count=1 -v -timeout 0 -run TestExternalStorage ./qemu-tests/kubernetes

.PHONY: test-provisioner
test-provisioner: ## Claims, against a real Kubernetes control plane on this machine (built once, which takes minutes)
	plane=$$(scripts/build-controlplane) && crds=$$(scripts/build-controlplane crds) && \
		ANTLER_CONTROLPLANE=$$plane ANTLER_CRDS=$$crds $(GO) test -tags controlplane -count=1 -v -timeout 20m ./qemu-tests/kubernetes/provisioner/...

# 20 rounds with each number of files take hours under emulation. All have the machines
# that the largest number needs.
.PHONY: bench-failover
bench-failover: build image ## How long each step of a failover takes, over ROUNDS=20 of each kind and with FILES="0 100000 1000000"; fails where a target is missed
	ROUNDS="$(ROUNDS)" FILES="$(or $(FILES),0 100000 1000000)" $(GO) test -tags vm -count=1 -v -timeout 0 -run '^$$' -bench Takeover -benchtime 1x ./qemu-tests/failover/...

.PHONY: bench-durability
bench-durability: build image ## What the safe setting for metadata costs, and what MooseFS's default loses in a power cut
	$(GO) test -tags vm -count=1 -v -timeout 25m ./qemu-tests/durability/...

.PHONY: bench-idle
bench-idle: build image ## Measure antlerd's binary, memory and processor use in an idle cluster; and the quorum's on this machine
	$(GO) test -count=1 -run '^$$' -bench IdleQuorum -benchtime 1x ./services/authority
	$(GO) test -tags vm -count=1 -v -timeout 20m -run '^$$' -bench Idle -benchtime 1x ./qemu-tests/failover/...

.PHONY: test-all
test-all: test test-planned test-image test-extension test-talos-pack test-provisioner test-kubernetes test-faults test-first-boot soak test-recovery bench-durability bench-idle test-kubernetes-external bench-failover ## Every suite but test-talos, the long ones too



.PHONY: check
check: check-api lint ## Linters, and that generated code is up to date

.PHONY: generate
generate: ## Generate the Go code of the API from its .proto files
	scripts/generate-api

.PHONY: check-api
check-api: ## Lint the API, look for breaking changes, compare the generated code
	scripts/check-api

.PHONY: api-published
api-published: ## Keep the API as it is now as what is published: later changes must not break its users
	scripts/api-tools
	cd api && ../build/tools/buf build --exclude-source-info -o published.binpb

.PHONY: lint
lint: $(TOOLS)/golangci-lint ## Run the linters
	$(TOOLS)/golangci-lint run --timeout 10m ./...
	$(TOOLS)/golangci-lint run --timeout 10m --build-tags vm ./qemu-tests/...
	$(TOOLS)/golangci-lint run --timeout 10m --build-tags packages ./extension/...
	$(TOOLS)/golangci-lint run --timeout 10m --build-tags controlplane ./qemu-tests/kubernetes/...
	cd qemu-tests/talos/pack && $(abspath $(TOOLS))/golangci-lint run --timeout 10m ./...

$(TOOLS)/golangci-lint:
	GOBIN=$(abspath $(TOOLS)) $(GO) install $(GOLANGCI)

.PHONY: clean
clean: ## Remove what was built, but not the caches
	rm -rf $(BUILD)/bin $(BUILD)/image $(BUILD)/next $(BUILD)/release $(BUILD)/extension $(BUILD)/lab $(BUILD)/reports $(BUILD)/demo
