#!/bin/sh
# Does the simulator find what it is there for? Builds it with one deliberate bug at a time and demands
# that a seed in 1..300 fails. Exit 1 when a bug survives.
#
#     Scripts/mutants.sh [MUTANT ...]      all of them without arguments
set -u
cd "$(dirname "$0")/.." || exit 2
export SWIFT_BACKTRACE=enable=no SWIFT_DETERMINISTIC_HASHING=1

scratch=.build/mutants
last=300
mutants="${*:-ANSWER_BEFORE_SYNC SKIP_DEDUPLICATION FORGET_WHEEL}"
survivors=0

for mutant in $mutants; do
    # One scratch directory in turn: only the rooms that see the flag are compiled again.
    if ! swift build -c release --product pulse-sim --scratch-path "$scratch" \
        -Xswiftc "-DMUTANT_$mutant" >"$scratch.log" 2>&1
    then
        cat "$scratch.log"
        echo "$mutant: does not build"
        exit 2
    fi
    seed=1
    caught=0
    while [ "$seed" -le "$last" ]; do
        if ! "$scratch/release/pulse-sim" --seed "$seed" >"$scratch.log" 2>&1; then
            caught=$seed
            break
        fi
        seed=$((seed + 1))
    done
    if [ "$caught" -gt 0 ]; then
        why=$(grep -m 1 'broken promise\|stopped the process' "$scratch.log")
        echo "$mutant: caught by seed $caught ($why)"
    else
        echo "$mutant: SURVIVED seeds 1..$last"
        survivors=$((survivors + 1))
    fi
done
rm -f "$scratch.log"
[ "$survivors" -eq 0 ]
