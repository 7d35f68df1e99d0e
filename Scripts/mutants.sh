#!/bin/sh
# Do the simulators find what they are there for? Builds pulse-sim once with the deliberate mistakes in
# it and demands that each is found. Exit 1 when one survives.
#
#     Scripts/mutants.sh [--full] [MUTANT ...]      all of them without names
#
# The quick form stops where each was found before (see `pulse-sim mutants`); --full goes on to 2,000
# seeds and takes in those that the quick form leaves out.
set -u
cd "$(dirname "$0")/.." || exit 2
export SWIFT_BACKTRACE=enable=no SWIFT_DETERMINISTIC_HASHING=1

scratch=.build/mutants
full=
if [ "${1:-}" = --full ]; then
    full=2000
    shift
fi
wanted=" $* "
if ! swift build -c release --product pulse-sim --scratch-path "$scratch" -Xswiftc -DMUTANTS \
    >"$scratch.log" 2>&1
then
    cat "$scratch.log"
    exit 2
fi
sim=$scratch/release/pulse-sim
survivors=0

printf '%-28s %-5s %-8s %s\n' mutant class seeds 'caught by'
"$sim" mutants >"$scratch.list" || exit 2
while read -r name class hunter quick <&3; do
    case $wanted in "  " | *" $name "*) ;; *) continue ;; esac
    seeds=${full:-$quick}
    [ "$seeds" -gt 0 ] || continue
    case $hunter in
    world) set -- --seeds "1..$seeds" --first-failure ;;
    *) set -- torture "$hunter" ;;
    esac
    if timeout 3600 "$sim" "$@" --mutant "$name" >"$scratch.log" 2>&1; then
        printf '%-28s %-5s %-8s %s\n' "$name" "$class" "$seeds" SURVIVED
        survivors=$((survivors + 1))
    elif [ $? -eq 1 ]; then
        seed=$(sed -n 's/^seed \([0-9]*\).*/\1/p' "$scratch.log" | head -1)
        why=$(grep -m 1 'broken promise\|stopped the process' "$scratch.log")
        printf '%-28s %-5s %-8s %s\n' "$name" "$class" "$seed" "$why"
    else
        cat "$scratch.log"
        exit 2
    fi
done 3<"$scratch.list"
rm -f "$scratch.log" "$scratch.list"
[ "$survivors" -eq 0 ]
