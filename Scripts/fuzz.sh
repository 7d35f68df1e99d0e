#!/usr/bin/env bash
# Builds and runs the fuzzers: libFuzzer with the address sanitizer, in release mode.
#
#   Scripts/fuzz.sh build                 build pulse-fuzz into .build/fuzz
#   Scripts/fuzz.sh run TARGET SECONDS    fuzz one target; findings go to .build/fuzz/findings/TARGET
#   Scripts/fuzz.sh all MINUTES           fuzz every target for that long, one after the other
#   Scripts/fuzz.sh replay TARGET FILE…   run inputs once, with a stack trace for a finding
#   Scripts/fuzz.sh check                 that fuzzing still works: a program as small as can be, each
#                                         target for a moment from seeds and corpus; a part of CI
#   Scripts/fuzz.sh minimise              fold what was found interesting into Fuzz/corpus, as little as
#                                         covers the same
set -euo pipefail
cd "$(dirname "$0")/.."
export SWIFT_BACKTRACE=enable=no PULSE_FUZZ=1
# Leaks: libFuzzer looks for them after each input that left memory behind.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=1}

scratch=.build/fuzz
program=$scratch/release/pulse-fuzz
per_target=${PER_TARGET:-16}

build() {
    # lld: gold, the default linker of the toolchain, cannot link the sanitizer's runtime.
    swift build --scratch-path "$scratch" -c release --product pulse-fuzz \
        -Xswiftc -use-ld=lld -Xswiftc -sanitize=fuzzer,address \
        -Xcc -fsanitize=fuzzer-no-link,address -Xcxx -fsanitize=fuzzer-no-link,address
    env -u PULSE_FUZZ swift build --product pulse-fuzz-seeds
    # Of the formats as they are now, whatever an earlier build has left.
    rm -rf "$scratch/seeds"
    seeds
}

targets() { ls Fuzz/corpus; }

# The seeds of today's formats, and everything earlier runs kept.
seeds() { [ -d $scratch/seeds ] || SWIFT_BACKTRACE=enable=no .build/debug/pulse-fuzz-seeds $scratch/seeds >/dev/null; }

options() {
    # More, on a machine that has much else to do: it is wall time.
    echo -timeout="${INPUT_SECONDS:-1}" -rss_limit_mb=512 -print_final_stats=1 -artifact_prefix="$scratch/findings/$1/"
    [ -f "Fuzz/dictionaries/$1" ] && echo -dict="Fuzz/dictionaries/$1"
    echo -max_len="$(longest "$1")"
}

longest() {
    case $1 in
    recovery | mail | rows) echo 1024 ;;
    floor) echo 512 ;;
    batch | frame | session | client | http | json | config) echo 4096 ;;
    *) echo 2048 ;;
    esac
}

run() {
    local target=$1 seconds=$2 log=$scratch/$1.log
    seeds
    mkdir -p "$scratch/corpus/$target" "$scratch/findings/$target"
    local status=0
    local TIMEFORMAT='processor %U %S'
    # shellcheck disable=SC2046
    {
        time PULSE_FUZZ_TARGET=$target "$program" $(options "$target") -max_total_time="$seconds" \
            "$scratch/corpus/$target" "Fuzz/corpus/$target" "$scratch/seeds/$target" </dev/null
    } >"$log" 2>&1 || status=$?
    if [ $status -ne 0 ]; then
        tail -40 "$log"
        echo "FINDING in $target: see $log and $scratch/findings/$target"
    fi
    summary "$target" "$seconds" "$log"
    return $status
}

# Not optimised, and the fuzzer's instrumentation alone: what is built quickest. (Release mode, since in debug
# mode the package manager takes the name `main` for itself.) Corpus and seeds, and a moment of
# what comes of them: nobody notices otherwise that a driver does not build, or that a seed is refused.
check() {
    local small=.build/fuzz-check failed=0
    swift build --scratch-path "$small" -c release --product pulse-fuzz \
        -Xswiftc -Onone -Xswiftc -use-ld=lld -Xswiftc -sanitize=fuzzer \
        -Xcc -fsanitize=fuzzer-no-link -Xcxx -fsanitize=fuzzer-no-link
    env -u PULSE_FUZZ swift build --product pulse-fuzz-seeds
    rm -rf "$small/seeds" "$small/new" "$small/findings"
    .build/debug/pulse-fuzz-seeds "$small/seeds"
    for target in $(targets); do
        mkdir -p "$small/new/$target" "$small/findings"
        if PULSE_FUZZ_TARGET=$target "$small/release/pulse-fuzz" -timeout=60 -max_total_time=1 \
            -print_final_stats=1 -artifact_prefix="$small/findings/" -max_len="$(longest "$target")" \
            "$small/new/$target" "Fuzz/corpus/$target" "$small/seeds/$target" \
            </dev/null >"$small/$target.log" 2>&1 && grep -q ' cov: [1-9]' "$small/$target.log"
        then
            echo "$target: $(awk '/number_of_executed_units/ { print $2 }' "$small/$target.log") inputs"
        else
            tail -20 "$small/$target.log"
            echo "$target: does not work"
            failed=1
        fi
    done
    return $failed
}

# | target | seconds | executions | edges | features | corpus | slowest | peak MB | processor s |
summary() {
    awk -v target="$1" -v seconds="$2" '
        / cov: / { for (i = 1; i < NF; i++) {
            if ($i == "cov:") edges = $(i + 1)
            if ($i == "ft:") features = $(i + 1)
            if ($i == "corp:") corpus = $(i + 1) } }
        /number_of_executed_units/ { runs = $2 }
        /slowest_unit_time_sec/ { slowest = $2 }
        /peak_rss_mb/ { peak = $2 }
        /^processor / { used = $2 + $3 }
        END { sub("/.*", "", corpus)
            printf "| %s | %s | %s | %s | %s | %s | %s | %s | %.0f |\n",
                target, seconds, runs, edges, features, corpus, slowest, peak, used }' "$3"
}

case ${1:-} in
build) build ;;
check) check ;;
run) [ -x $program ] || build; run "$2" "${3:-60}" ;;
all)
    [ -x $program ] || build
    failed=0
    for target in $(targets); do run "$target" $((${2:-20} * 60)) || failed=1; done
    exit $failed
    ;;
replay)
    target=$2
    shift 2
    PULSE_FUZZ_TARGET=$target "$program" -timeout=1 -rss_limit_mb=512 "$@" </dev/null
    ;;
minimise)
    seeds
    for target in $(targets); do
        rm -rf "$scratch/merged/$target"
        mkdir -p "$scratch/merged/$target" "$scratch/corpus/$target"
        # shellcheck disable=SC2046
        PULSE_FUZZ_TARGET=$target "$program" -merge=1 $(options "$target") "$scratch/merged/$target" \
            "Fuzz/corpus/$target" "$scratch/corpus/$target" </dev/null >"$scratch/merge.log" 2>&1 ||
            echo "$target: the merge stopped, see $scratch/merge.log"
        # The smallest inputs first; findings, which have a name in the page, are always kept.
        kept=$(find "Fuzz/corpus/$target" -type f | wc -l)
        # shellcheck disable=SC2012
        for file in $(ls -Sr "$scratch/merged/$target"); do
            [ "$kept" -ge "$per_target" ] && break
            name=$(sha1sum <"$scratch/merged/$target/$file" | cut -c1-40)
            [ -f "Fuzz/corpus/$target/$name" ] && continue
            cp "$scratch/merged/$target/$file" "Fuzz/corpus/$target/$name"
            kept=$((kept + 1))
        done
        echo "$target: $kept inputs"
    done
    ;;
*)
    sed -n '4,13p' "$0"
    exit 64
    ;;
esac
