#!/usr/bin/env bash
# Makes the golden directories of a release, which later programs must be able to open and serve:
#
#     Scripts/golden.sh NAME        into Tests/Golden/NAME; NAME is version-commit, 0.1.0-4ce0371
#     Scripts/golden.sh --rehash    after a new version of the hot state: adds its hash to all of them
#
# clean, killed: written in process with small segments; served: by the real program, with 16 MiB ones.
set -euo pipefail
cd "$(dirname "$0")/.."
export SWIFT_BACKTRACE=enable=no
test_only() { swift test --skip-build --disable-xctest --filter "GoldenTests.$1" >&2; }

swift build --build-tests
if [ "${1:?name of the release, or --rehash}" = --rehash ]; then
    PULSE_GOLDEN_REHASH=1 test_only rehash
    exit
fi
target=Tests/Golden/$1
work=$(mktemp -d /tmp/pulse-golden-XXXXXX)
trap 'rm -rf "$work"' EXIT
mkdir -p "$target"

PULSE_GOLDEN_WRITE=$work test_only write
rm -rf "$work/killed"
mv "$work/killed-image" "$work/killed"
mv "$work/killed-image.expect" "$work/killed.expect"
python3 Scripts/golden_served.py "${PULSE_BINARY:-.build/release/pulse}" "$work/served"

for name in clean killed served; do
    PULSE_GOLDEN_RECORD=$work/$name test_only record
    mv "$work/$name.expect" "$target/$name.expect"
    # The same bytes give the same archive: no times, no owners.
    tar -C "$work/$name" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
        --exclude=./shard-0/state/LOG --exclude='./shard-0/state/LOG.old.*' -cf - . \
        | xz -9e > "$target/$name.tar.xz"
done
du -ch "$target"/*
