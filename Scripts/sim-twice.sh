#!/bin/sh
# Simulates the same worlds in two processes, which hash with different seeds, and compares their traces:
# a world depends on its seed alone. Exit 1 when they differ.
#
#     Scripts/sim-twice.sh 1..40
set -eu
cd "$(dirname "$0")/.."
export SWIFT_BACKTRACE=enable=no
first=$(.build/release/pulse-sim --seeds "$1" | grep '^trace')
second=$(.build/release/pulse-sim --seeds "$1" | grep '^trace')
echo "first $first"
echo "again $second"
[ "$first" = "$second" ]
