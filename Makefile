# Every target works on a fresh machine with Go and nothing else.
.DEFAULT_GOAL := help
GO         ?= go
FUZZTIME   ?= 30s
PREFIX     ?= /usr/local
# Tests of the same package side by side: most of them wait for processes.
AT_ONCE     = $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2))))
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.7.0
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.8.0

.PHONY: help build install dist demo test lint vuln chaos bench measure fuzz

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/chatbatch
	$(GO) build -o bin/chatbatch ./cmd/chatbatch

install: build ## install the program, its man pages and completions under PREFIX (/usr/local; DESTDIR goes before it)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	install -m 755 bin/chatbatch $(DESTDIR)$(PREFIX)/bin/chatbatch
	bin/chatbatch man $(DESTDIR)$(PREFIX)/share/man/man1
	bin/chatbatch completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/chatbatch
	bin/chatbatch completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_chatbatch
	bin/chatbatch completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/chatbatch.fish

dist: ## archives for Linux, macOS and Windows in dist/, and their checksums; the same commit gives the same bytes
	$(GO) run ./cmd/chatbatch/dist

demo: build ## import the marks of a roster on the built-in simulator and show the books
	@bin/chatbatch demo

test: ## run all tests with the race detector, in random order, and say what was left out
	$(GO) test -race -shuffle=on -timeout 15m -parallel $(AT_ONCE) ./...
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
