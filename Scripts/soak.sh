#!/bin/sh
# Simulates many worlds in two processes that stay out of everybody's way. Exit 1 when one fails.
#
#     Scripts/soak.sh 1..20000
set -u
cd "$(dirname "$0")/.." || exit 2
export SWIFT_BACKTRACE=enable=no SWIFT_DETERMINISTIC_HASHING=1
PULSE_COMMIT=$(git rev-parse --short HEAD)
export PULSE_COMMIT

# A world that stops its process is reported like one that fails, and the next process goes on after it.
range() {
    from=$1
    while ! .build/release/pulse-sim --seeds "$from..$2" >"$3.part" 2>&1; do
        cat "$3.part" >>"$3"
        seed=$(sed -n 's/^seed \([0-9]*\) stopped the process$/\1/p' "$3.part")
        [ -n "$seed" ] || return 1
        failed=1
        from=$((seed + 1))
        [ "$from" -le "$2" ] || return 1
    done
    cat "$3.part" >>"$3"
    [ -z "${failed:-}" ]
}

first=${1%%..*}
last=${1##*..}
middle=$(((first + last) / 2))
swift build -c release --static-swift-stdlib --product pulse-sim || exit 2
rm -f .build/soak-1.log .build/soak-2.log
renice -n 19 -p $$ >/dev/null
range "$first" "$middle" .build/soak-1.log &
one=$!
range $((middle + 1)) "$last" .build/soak-2.log &
two=$!
status=0
wait "$one" || status=1
wait "$two" || status=1
for log in .build/soak-1.log .build/soak-2.log; do
    grep -E '^seed |broken promise|stopped the process|^repeat|^never' "$log"
    tail -n 1 "$log"
done
exit "$status"
