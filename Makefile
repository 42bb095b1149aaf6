# OceanChat. `make help` lists the targets. Everything here needs Go (see go.mod) and a shell; tools are pinned
# below and installed into .bin, one `go install` each: one shared tool module made their versions fight.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

BUF_VERSION          := v1.75.0
PROTOC_GEN_GO        := v1.36.12
PROTOC_GEN_GO_GRPC   := v1.6.2
PROTOC_GEN_GATEWAY   := v2.33.0
GOLANGCI_VERSION     := v2.12.2
HELM_VERSION         := v3.22.0
VERSITYGW_VERSION    := v1.8.0
GOVULNCHECK_VERSION  := v1.9.0

BIN     := $(CURDIR)/.bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/oceanchat/oceanchat/internal/app.Version=$(VERSION)
PKG     ?= ./...
FUZZTIME ?= 50000x
BENCHTIME ?= 1s

# Install a tool once per version: $(call tool,name,package,version) makes .bin/.name@version.
define tool
$(BIN)/.$(1)@$(3):
	@mkdir -p $(BIN) && rm -f $(BIN)/.$(1)@*
	@echo "installing $(1) $(3)"
	@GOBIN=$(BIN) GOFLAGS= CGO_ENABLED=0 go install $(2)@$(3)
	@touch $$@
endef
$(eval $(call tool,buf,github.com/bufbuild/buf/cmd/buf,$(BUF_VERSION)))
$(eval $(call tool,protoc-gen-go,google.golang.org/protobuf/cmd/protoc-gen-go,$(PROTOC_GEN_GO)))
$(eval $(call tool,protoc-gen-go-grpc,google.golang.org/grpc/cmd/protoc-gen-go-grpc,$(PROTOC_GEN_GO_GRPC)))
$(eval $(call tool,protoc-gen-grpc-gateway,github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-grpc-gateway,$(PROTOC_GEN_GATEWAY)))
$(eval $(call tool,helm,helm.sh/helm/v3/cmd/helm,$(HELM_VERSION)))
$(eval $(call tool,versitygw,github.com/versity/versitygw/cmd/versitygw,$(VERSITYGW_VERSION)))
$(eval $(call tool,govulncheck,golang.org/x/vuln/cmd/govulncheck,$(GOVULNCHECK_VERSION)))
$(eval $(call tool,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,$(GOLANGCI_VERSION)))

BUF_TOOL := $(BIN)/.buf@$(BUF_VERSION)
GEN_TOOLS := $(BUF_TOOL) \
	$(BIN)/.protoc-gen-go@$(PROTOC_GEN_GO) \
	$(BIN)/.protoc-gen-go-grpc@$(PROTOC_GEN_GO_GRPC) \
	$(BIN)/.protoc-gen-grpc-gateway@$(PROTOC_GEN_GATEWAY)
LINT_TOOL := $(BIN)/.golangci-lint@$(GOLANGCI_VERSION)

.PHONY: help build test faults power upgrade conformance cluster helm versitygw lint breaking released vuln fmt gen fuzz bench docs

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | awk -F'\t' '{printf "  %-12s %s\n", $$1, $$2}'

build: ## build bin/oceanchat: static, no C, version from git
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/oceanchat ./cmd/oceanchat

gen: $(GEN_TOOLS) ## regenerate gen/ from api/ (buf and local plugins, no network once the tools are there)
	@CGO_ENABLED=0 go build -o $(BIN)/protoc-gen-oceanchat-openapi ./tools/protoc-gen-oceanchat-openapi
	@rm -rf $(BIN)/out
	PATH="$(BIN):$$PATH" buf generate -o $(BIN)/out
	@diff -rq gen $(BIN)/out/gen >/dev/null 2>&1 || { rm -rf gen && mv $(BIN)/out/gen gen; }

# -race needs C; Go reports CGO_ENABLED=0 by itself where no C compiler is in PATH.
ifeq ($(shell go env CGO_ENABLED),1)
RACE := -race
endif
ifneq ($(OCEANCHAT_CI),)
TEST := go test -json
REPORT := | go run ./tools/testreport
else
TEST := go test
endif

# All of the system tests on a cluster take ten minutes: `make test CLUSTER_TESTS=.` runs them. These are each kind of them;
# what dies under load is tried by `make faults`.
CLUSTER_TESTS ?= ^Test(LoginWalk|GroupWalk|UnacknowledgedPushGoesOffline|Stranger|Nobody|ReadBeforeStored|RevokedSession|ContractAuth|ContractFriends|ContractBlocks|ContractPresence|ContractConnect|ContractConnectWhileSending|ContractGroup|ContractSend|ContractHistory|ContractSync|ContractAtOnce|DoorsAgree|TraceOfOneMessage|TraceCommand|NothingShowsSecrets|DatabaseAway|RedisComesBackEmpty|BenchCluster)$$

test: ## THE test command: go vet and go test, with -race where a C compiler is (OCEANCHAT_CI=1: a skip fails)
	@$(if $(RACE),,echo "no C compiler: the tests run without -race")
	go vet $(PKG)
	$(TEST) $(RACE) -timeout 15m $(PKG) $(REPORT)
	@if [ -n "$(OCEANCHAT_CI)" ] || { command -v redis-server && command -v java && command -v mvn; } >/dev/null; then \
		echo "the system tests once more, on a cluster of processes"; \
		OCEANCHAT_TEST_CLUSTER=1 $(TEST) $(RACE) -count=1 -timeout 15m -run '$(CLUSTER_TESTS)' ./test/system $(REPORT); \
	else echo "no redis-server, java or mvn: the system tests ran in one process only"; fi

cluster: build ## run a whole cluster on this machine until Ctrl-C: every service as two processes (CLUSTER='--replicas 1 …')
	@{ command -v redis-server && command -v mvn && command -v java; } >/dev/null || [ "$$(id -u)" != 0 ] || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server maven default-jdk-headless; }
	go build -o $(BIN)/cluster ./tools/cluster
	exec $(BIN)/cluster --binary bin/oceanchat $(CLUSTER)

faults: build ## break a running cluster in every way there is, and judge what people saw (FAULTS='--short', '--mode all', '--only NATS', '--random 10m --seed 7')
	go build -o $(BIN)/faults ./test/faults
	$(BIN)/faults --binary bin/oceanchat $(FAULTS)

upgrade: build ## the last release and this version side by side, forward and back, while people talk (UPGRADE='--short', '--base v1.2.0', '--mode all')
	go build -o $(BIN)/upgrade ./test/upgrade
	$(BIN)/upgrade --binary bin/oceanchat $(UPGRADE)

power: build ## cut the power while people talk: the data lie on a disk that forgets what was not synced (needs root and /dev/fuse; POWER='--short', '--mode all|cluster --cuts 30 --seed 7 --sync always|interval --names journal|strict')
	go build -o $(BIN)/power ./test/power
	$(BIN)/power --binary bin/oceanchat $(POWER)

conformance: ## the suites of every seam over every implementation
	go test -count=1 ./internal/seam/...

helm: $(BIN)/.helm@$(HELM_VERSION) ## install helm into .bin, for the tests of the chart

versitygw: $(BIN)/.versitygw@$(VERSITYGW_VERSION) ## install versitygw, an S3 server, into .bin, for the tests of media in S3

lint: $(BUF_TOOL) $(LINT_TOOL) ## buf lint and golangci-lint
	$(BIN)/buf lint
	GOLANGCI_LINT_CACHE=$(BIN)/lint-cache $(BIN)/golangci-lint run $(PKG)

breaking: $(BUF_TOOL) ## what the last release writes and reads must stay: api/ against its image, api/released.binpb
	$(BIN)/buf breaking api --against api/released.binpb

released: $(BUF_TOOL) ## right after a release is tagged: make its image and note its commit, for breaking and upgrade
	git diff --exit-code HEAD -- api
	$(BIN)/buf build api --exclude-source-info -o api/released.binpb
	git rev-parse HEAD > test/upgrade/BASE

vuln: $(BIN)/.govulncheck@$(GOVULNCHECK_VERSION) ## known vulnerabilities in what the code calls, the standard library included (VULNDB=file:///a/copy)
	$(BIN)/govulncheck $(if $(VULNDB),-db $(VULNDB)) $(PKG)

fmt: $(BUF_TOOL) $(LINT_TOOL) ## format Go code and .proto files
	$(BIN)/buf format -w api
	$(BIN)/golangci-lint fmt ./...

# A fuzzer that finds something leaves the input in testdata/fuzz, where go test runs it from then on: commit it with the cure.
# Counted, not timed: at the end of a -fuzztime in seconds Go's coordinator now and then fails a target that found nothing
# ("context deadline exceeded", golang/go#75804).
fuzz: ## every fuzz target, FUZZTIME (50000x) inputs each, from its committed corpus on
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' cmd internal sdk test tools | sed 's/:func / /' | while read -r file name; do \
		echo "== $$name in $$(dirname $$file)"; \
		go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1000x "./$$(dirname $$file)" </dev/null; \
	done

bench: ## all benchmarks, BENCHTIME (1s) each
	go test -run '^$$' -bench . -benchtime $(BENCHTIME) -benchmem $(PKG)

docs: gen ## regenerate docs/reference from the code
	@mkdir -p docs/reference bin
	go run ./cmd/oceanchat config doc > bin/configuration.md
	mv bin/configuration.md docs/reference/configuration.md
