#!/usr/bin/env bash
# Builds everything with a sanitizer and runs every test with it: Scripts/sanitize.sh address|thread.
#
# The broker that integration tests start is built here too, and so is instrumented as well. What Debian
# ships (RocksDB, libcurl, libyaml) is not. spec/10-fuzzing.md says what that means.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=$1
shift
scratch=.build/sanitize-$kind
export SWIFT_BACKTRACE=enable=no
reports=$PWD/$scratch/reports
rm -rf "$reports"
# lld: gold, the default linker of the toolchain, cannot link the sanitizer's runtime.
flags=(--scratch-path "$scratch" --sanitize="$kind" -Xswiftc -use-ld=lld)
# Optimised, or the tests of properties take hours; our own assertions stay.
flags+=(-Xswiftc -O -Xswiftc -assert-config -Xswiftc Debug)
# What locks are made of then: PulseIO's SeenMutex says why.
[ "$kind" = thread ] && flags+=(-Xswiftc -DTHREAD_SANITIZER)
swift build --build-tests "${flags[@]}"
mkdir -p "$reports"
export PULSE_BINARY=$PWD/$scratch/debug/pulse PULSE_BENCH_BINARY=$PWD/$scratch/debug/pulse-bench
# Reports go to files: those of a broker that a test started would be lost in its output otherwise.
# Leaks are looked for in fuzzers, whose program ends in an orderly way; a killed broker leaks by intent.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:log_path=$reports/asan
export TSAN_OPTIONS=suppressions=$PWD/Scripts/tsan-suppressions.txt:log_path=$reports/tsan:history_size=4
status=0
swift test "${flags[@]}" --skip-build --disable-xctest "$@" || status=$?
if compgen -G "$reports/*" >/dev/null; then
    cat "$reports"/*
    echo "$(grep -l 'ERROR\|WARNING' "$reports"/* | wc -l) reports in $reports"
    status=1
fi
exit $status
