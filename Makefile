# Everything a person runs. `make help` lists it; .ci/run calls the same targets.
# Plain make: works with GNU make 3.81 and later.

.POSIX:
SHELL = /bin/sh

# A room that imports what Package.swift does not allow fails to build.
CONFIGURATION = -c release --explicit-target-dependency-import-check error
GLIM = .build/release/glim
LINTED = Package.swift Sources Tests Examples
# Suites of seconds, from every room: see `smoke`.
SMOKE = GlimTextTests|GlimCheckpointTests|KernelTests|Config|GoldenModel|PackedLoader|TrainRecipe
SMOKE_LEAST = 100
# Clients of servers keep time, and are not to wait for every other suite.
SERVED = GlimServeTests|ServeCommandTests|EndpointConformanceTests
VENV = .venv-golden
# More arguments for one run: make quickstart ARGS="--minutes 3 --data ~/src"
ARGS =

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 20

quickstart: build ## a small model in five stages on text found here (30 minutes of training), and quickstart/report.html
	$(GLIM) quickstart --out quickstart $(ARGS)

setup: ## install what a build lacks (the Swift toolchain is yours to install)
	@sh Tools/setup.sh

build: setup ## the glim command, optimised
	swift build $(CONFIGURATION) --product glim

tests: setup
	swift build $(CONFIGURATION) --build-tests

test: tests kernels examples ## everything: C kernels, examples, all suites (under 25 minutes on 2 cores)
	swift test -c release --skip-build --disable-xctest --no-parallel --filter '$(SERVED)'
	swift test -c release --skip-build --disable-xctest --skip '$(SERVED)'

smoke: tests ## the quick suites only (under 5 minutes, build included)
	@swift test -c release --skip-build --disable-xctest --filter '$(SMOKE)' 2>&1 | tee .build/smoke.log
	@grep -Eq 'Test run with [0-9]+ tests? .*passed' .build/smoke.log || { echo "error: smoke tests failed" >&2; exit 1; }
	@sed -n 's/.*Test run with \([0-9]*\) test.*/\1/p' .build/smoke.log | tail -n 1 | { read n; \
	  [ "$$n" -ge $(SMOKE_LEAST) ] || { echo "error: smoke ran $$n tests: the filter has lost its suites" >&2; exit 1; }; }

kernels: setup ## all kernel tables against the plain one, as a C program
	@mkdir -p .build
	clang -O2 -Wall -Wextra -ISources/CGlimKernels/include -ISources/CGlimKernelChecks/include \
	  Tests/CKernels/*.c Sources/CGlimKernelChecks/*.c Sources/CGlimKernels/*.c -lm -o .build/kernels
	@.build/kernels

# A seed of its own for each run, unless one is given: make fuzz FUZZ_SEED=7 FUZZ_COUNT=1000000 KILL_COUNT=50
FUZZ_COUNT = 200000
KILL_COUNT = 50
WALK_COUNT = 500
FUZZ_SEED = $$(date +%s)
FUZZED = [Ff]uzz|KillTests|FullDiskTests|EngineExactnessTests|RefusalTests

fuzz: tests ## damaged files for every reader, 200,000 each; 50 kills of each stage; 500 engine walks of each format (over an hour)
	@ulimit -v 25165824; seed=$(FUZZ_SEED); echo "seed $$seed"; [ -w /dev/shm ] && export TMPDIR=/dev/shm; \
	  GLIM_FUZZ_COUNT=$(FUZZ_COUNT) GLIM_FUZZ_SEED=$$seed GLIM_KILL_COUNT=$(KILL_COUNT) \
	  GLIM_WALK_COUNT=$(WALK_COUNT) \
	  swift test -c release --skip-build --disable-xctest --no-parallel --filter '$(FUZZED)'

# How long, in whole minutes: make soak MINUTES=60
MINUTES = 10

soak: tests ## 64 requests at a time on one engine, with cancels and swaps, for MINUTES=10: memory flat, nothing stuck
	@seed=$(FUZZ_SEED); echo "seed $$seed"; GLIM_SOAK_MINUTES=$(MINUTES) GLIM_FUZZ_SEED=$$seed \
	  swift test -c release --skip-build --disable-xctest --filter EngineSoakTests 2>&1 | tee .build/soak.log
	@grep -Eq 'Test run with 1 test .*passed' .build/soak.log || { echo "error: the soak failed" >&2; exit 1; }

server-soak: tests ## the same over HTTP: 64 clients that stream, leave, read slowly and err, for MINUTES=10; a table of latencies
	@seed=$(FUZZ_SEED); echo "seed $$seed"; GLIM_SOAK_MINUTES=$(MINUTES) GLIM_FUZZ_SEED=$$seed \
	  swift test -c release --skip-build --disable-xctest --filter ServerSoakTests 2>&1 | tee .build/server-soak.log
	@grep -Eq 'Test run with 1 test .*passed' .build/server-soak.log || { echo "error: the soak failed" >&2; exit 1; }

sanitize: setup ## C kernels under the address and undefined-behaviour sanitizers, the thread pool under the thread sanitizer
	@sh Tools/sanitize.sh

neon: ## the same for 64-bit ARM, under emulation (Debian: installs a cross compiler and qemu)
	bash Tools/neon.sh

page: build ## the page of glim serve, used in Chromium (Debian: installs it) on a tiny model of its own
	@sh Tools/setup.sh browser
	python3 Tools/check_page.py --glim $(GLIM) $(ARGS)

# In the same build folder: what both need is compiled once.
examples: setup ## the package that uses glim as a library, and the kernel table that glim can load
	swift build $(CONFIGURATION) --package-path Examples --scratch-path .build
	clang -O3 -march=native -Wall -Wextra -shared -fPIC -ISources/CGlimKernels/include Examples/kernels/sample.c -o .build/sample.so

lint: ## formatting, as CI sees it
	swift format lint --strict --parallel --recursive $(LINTED)

format: ## rewrite to that formatting
	swift format --in-place --parallel --recursive $(LINTED)

bench: build ## every figure: kernels, threads, tokenizer, loading, then a fresh nano, held against what this machine can do
	@set -e; for kind in kernels threads tokenizer load; do $(GLIM) bench $$kind $(ARGS); echo; done
	@set -e; for kind in train prefill decode "decode --context 8192"; do $(GLIM) bench $$kind --preset nano $(ARGS); echo; done

$(VENV)/ready: Tools/requirements.txt
	@sh Tools/setup.sh python
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -r Tools/requirements.txt
	@touch $@

golden: $(VENV)/ready ## make the golden files of Tests/Golden again, with PyTorch and transformers
	set -e; for script in Tools/*_golden.py; do echo "$$script"; $(VENV)/bin/python $$script; done

parity: build $(VENV)/ready ## hold glim against transformers on random models
	$(VENV)/bin/python Tools/parity.py --glim $(GLIM) $(ARGS)

docs: build ## the DocC pages of every library, into docs-out/
	@sh Tools/docs.sh docs-out

clean: ## remove what builds made (runs and models stay)
	rm -rf .build .build-tsan Examples/.build docs-out $(VENV)

.PHONY: help quickstart setup build tests test smoke kernels fuzz soak server-soak sanitize page neon examples lint format bench golden parity docs clean
