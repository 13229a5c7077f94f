# Every target works on a fresh machine with Go and nothing else.
.DEFAULT_GOAL := help
GO         ?= go
FUZZTIME   ?= 30s
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.7.0
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.8.0

.PHONY: help build demo test lint vuln chaos bench measure fuzz

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/chatbatch
	$(GO) build -o bin/chatbatch ./cmd/chatbatch

demo: build ## import the marks of a roster on the built-in simulator and show the books
	@bin/chatbatch demo

test: ## run all tests with the race detector, in random order, and say what was left out
	$(GO) test -race -shuffle=on -timeout 15m ./...
	@$(GO) test -race -v -run '^TestServer$$|^TestPageInABrowser$$' ./limiter/pgtest ./io/report | sed -n 's/^.*: \(left out: .*\)/\1/p'

lint: ## gofmt, go vet and staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l . ; echo "not gofmt-ed: run gofmt -w ."; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod verify

vuln: ## known weaknesses of what is used, where the database of govulncheck can be reached
	@$(GO) run $(GOVULNCHECK) ./... > vuln.out 2>&1; code=$$?; cat vuln.out; \
	if [ $$code != 0 ] && grep -q 'fetching vulnerabilities: ' vuln.out; then \
		echo "left out: the database of govulncheck cannot be reached"; code=0; fi; \
	rm -f vuln.out; exit $$code

chaos: ## kills, full disks, broken servers, bad input: all that can be arranged (minutes; make test has a short part)
	$(GO) test ./cmd/chatbatch/chaos -full -v -count=1 -timeout 60m

bench: ## measure plan, ledger, limiter and a whole run, side by side
	$(GO) test -run '^$$' -bench . -skip Measure -benchtime 2s -timeout 30m ./...

measure: ## measure the limiter at a server that counts, with processes, hosts and faults (half an hour)
	$(GO) test -run '^$$' -bench Measure -benchtime 1x -timeout 60m -v ./limiter

fuzz: ## fuzz every parser for FUZZTIME (default 30s) each
	@for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$f"; \
			$(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done
