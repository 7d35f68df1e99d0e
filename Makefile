# The things one can do here. `make` alone lists them.

# A crash in a test is a line in its output, not an interactive debugger.
export SWIFT_BACKTRACE = enable=no

SEEDS ?= 1..300
SOAK_SEEDS ?= 1..20000
FORMATTED = Package.swift Sources Tests Fuzz examples

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup build release run test sim sim-twice torture torture-long soak mutants \
	mutants-long crash-test crash-test-long ten-million ten-million-quick full-disk-test \
	sync-failure-test damage-test damage-test-long retention-test retention-test-long bench bench-accept fuzz fuzz-all \
	fuzz-check fuzz-minimise asan tsan fmt lint check clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install the Debian packages that are missing (as root)
	@Scripts/setup.sh

build: setup ## Build everything for debugging
	swift build --build-tests

release: setup ## Build .build/release/pulse, pulse-bench and pulse-sim
	swift build -c release --static-swift-stdlib

run: setup ## Build and run a broker for development: ports 8000 and 7070, data in ./pulse-data
	swift build -c release --static-swift-stdlib --product pulse
	@exec .build/release/pulse serve --dev

# Every test uses Swift Testing; the other runner would only report that it has none.
test: setup ## Build and run every test
	swift build --build-tests
	swift test --skip-build --disable-xctest

sim: setup ## Simulate worlds with faults: SEED=n for one, SEEDS=a..b for many (1..300)
	swift build -c release --static-swift-stdlib --product pulse-sim
	PULSE_COMMIT=$$(git rev-parse --short HEAD) SWIFT_DETERMINISTIC_HASHING=1 \
		.build/release/pulse-sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --coverage --least-speed 300)

sim-twice: setup ## Simulate the same worlds in two processes; their traces must be the same: TWICE=a..b (1..40)
	swift build -c release --static-swift-stdlib --product pulse-sim
	Scripts/sim-twice.sh $(or $(TWICE),1..40)

torture: setup ## Torture the log on a simulated disk: TORTURE="cuts --cuts 500 --seed 7" for a part
	swift build -c release --static-swift-stdlib --product pulse-sim
	.build/release/pulse-sim torture $(or $(TORTURE),quick)

torture-long: ## The same with the full numbers, about ten minutes; for spec/results
	$(MAKE) torture TORTURE=long

soak: setup ## Simulate for long, two at a time: SOAK_SEEDS=a..b (1..20000)
	Scripts/soak.sh $(SOAK_SEEDS)

mutants: setup ## Check that each planted mistake is found
	Scripts/mutants.sh

mutants-long: setup ## The same, each with up to 2,000 seeds: the rate that is caught
	Scripts/mutants.sh --full

crash-test: release ## Kill the real program again and again; check that nothing acknowledged is lost
	python3 Scripts/crash-test.py --full-segment

crash-test-long: release ## The same with 500 kills: some twenty minutes
	python3 Scripts/crash-test.py --kills 500 --full-segment

ten-million: release ## Load millions of notifications and measure the starts: COUNT=n (10000000)
	python3 Scripts/ten-million.py --count $(or $(COUNT),10000000)

ten-million-quick: release ## The same with a few hundred thousand and a short load
	python3 Scripts/ten-million.py --count 300000 --load-seconds 10

full-disk-test: release ## Fill a small disk under the real program (as root)
	python3 Scripts/full-disk-test.py

sync-failure-test: release ## Let syncs fail under the real program: RUNS=n (100)
	python3 Scripts/sync-failure-test.py --runs $(or $(RUNS),100)

damage-test: release ## Flip bits of a real data directory, cut, delete and swap its files
	python3 Scripts/damage-test.py --flips 40 --seed $(or $(SEED),1)

damage-test-long: release ## The same with 1,000 flips and every file: some half an hour
	python3 Scripts/damage-test.py --flips 1000 --all-files --seed $(or $(SEED),1)

retention-test: release ## A message due in a year and much traffic: the disk stays within its limit
	python3 Scripts/retention-test.py --traffic 300MiB --limit 128MiB

retention-test-long: release ## The same with 2 GiB of traffic and a limit of 256 MiB
	python3 Scripts/retention-test.py --traffic 2GiB --limit 256MiB

bench: release ## Measure: BENCH="arguments of pulse-bench"
	.build/release/pulse-bench $(BENCH)

bench-accept: release ## Measure how fast notifications are accepted, the figures of the README
	.build/release/pulse-bench accept

fuzz: ## Fuzz one reader: TARGET=name SECONDS=60 (spec/10-fuzzing.md)
	Scripts/fuzz.sh build
	Scripts/fuzz.sh run $(TARGET) $(or $(SECONDS),60)

fuzz-all: ## Fuzz every reader: MINUTES=20 each
	Scripts/fuzz.sh build
	Scripts/fuzz.sh all $(or $(MINUTES),20)

fuzz-check: ## Check that the fuzzers build and that each runs
	Scripts/fuzz.sh check

fuzz-minimise: ## Fold what fuzzers found into the corpus
	Scripts/fuzz.sh minimise

asan: ## Run every test with the address sanitizer
	Scripts/sanitize.sh address

tsan: ## Run every test with the thread sanitizer
	Scripts/sanitize.sh thread

fmt: ## Format the Swift sources
	swift format --in-place --recursive $(FORMATTED)

lint: ## Check the format of the Swift sources
	swift format lint --strict --recursive $(FORMATTED)

check: ## Exactly what CI runs
	.ci/run

clean: ## Remove what was built; data directories stay
	rm -rf .build
