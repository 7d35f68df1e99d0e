// The deliberate mistakes by name: the bug class of each, and who is expected to find it. Only in a build
// with `-DMUTANTS`; `Scripts/mutants.sh` walks the table, spec/09-simulation.md shows it.

#if MUTANTS

package import PulseCore

/// One row.
package struct MutantRow: Sendable {
    package enum Hunter: String, Sendable {
        /// Whole worlds: `pulse-sim --seeds`.
        case world
        /// The storage alone: `pulse-sim torture cuts`, and so on.
        case cuts
        case damage
        case metadata
        case cases
    }

    package var name: String
    package var mutant: Mutant
    /// The bug class of the reliability notes that it stands for.
    package var bugClass: String
    package var hunter: Hunter
    /// Seeds in which it is found at the latest when the quick form runs; 0 leaves it to the full form.
    package var quickSeeds: Int

    init(
        _ name: String,
        _ mutant: Mutant,
        _ bugClass: String,
        by hunter: Hunter = .world,
        within quickSeeds: Int = 40
    ) {
        self.name = name
        self.mutant = mutant
        self.bugClass = bugClass
        self.hunter = hunter
        self.quickSeeds = quickSeeds
    }
}

extension Mutant {
    package static var table: [MutantRow] {
        [
            MutantRow("answer-before-sync", .answerBeforeSync, "B1"),
            MutantRow("http-before-sync", .httpBeforeSync, "B1"),
            MutantRow("produce-before-sync", .produceBeforeSync, "B1"),
            MutantRow("template-before-sync", .templateBeforeSync, "B1"),
            MutantRow("settle-before-sync", .settleBeforeSync, "B1"),
            MutantRow("group-before-sync", .groupBeforeSync, "B1"),
            MutantRow("durable-at-append", .durableAtAppend, "B1"),
            MutantRow("ignore-sync-error", .ignoreSyncError, "B2"),
            MutantRow("retry-sync", .retrySync, "B2"),
            MutantRow("keep-cache", .keepCache, "B2"),
            MutantRow("cut-damage", .cutDamage, "B3"),
            MutantRow("skip-body-crc", .skipBodyCRC, "B3", within: 60),
            MutantRow("skip-header-crc", .skipHeaderCRC, "B3", within: 90),
            MutantRow("skip-seed", .skipSeed, "B3", by: .cases),
            MutantRow("synced-up-to-high", .syncedUpToHigh, "B3", within: 60),
            MutantRow("synced-up-to-low", .syncedUpToLow, "B3", by: .cases),
            MutantRow("floor-ahead", .floorAhead, "B13", within: 150),
            MutantRow("skip-chain", .skipChain, "B4", by: .damage, within: 0),
            MutantRow("skip-missing-file", .skipMissingFile, "B4"),
            MutantRow("skip-segment-link", .skipSegmentLink, "B4", within: 80),
            MutantRow("roll-without-directory-sync", .rollWithoutDirectorySync, "B1"),
            MutantRow("roll-loses-sealed-file", .rollLosesSealedFile, "B1"),
            MutantRow("empty-for-bad-checkpoint", .emptyForBadCheckpoint, "B5"),
            MutantRow("replay-from-rows", .replayFromRows, "B13"),
            MutantRow("rows-without-applied", .rowsWithoutApplied, "B13"),
            MutantRow("take-rows-from-the-future", .takeRowsFromTheFuture, "B13"),
            MutantRow("release-before-flush", .releaseBeforeFlush, "B5", by: .cases),
            MutantRow("checkpoint-in-any-order", .checkpointInAnyOrder, "B5"),
            MutantRow("fold-before-sync", .foldBeforeSync, "B13"),
            MutantRow("cursor-ahead", .cursorAhead, "B13"),
            MutantRow("forget-dead-row", .forgetDeadRow, "B5"),
            MutantRow("keep-held-row", .keepHeldRow, "B14"),
            MutantRow("skip-deduplication", .skipDeduplication, "B12"),
            MutantRow("forget-keys-at-start", .forgetKeysAtStart, "B12"),
            MutantRow("forget-keys-at-seal", .forgetKeysAtSeal, "B12"),
            MutantRow("filter-forgets", .filterForgets, "B12"),
            MutantRow("skip-page-crc", .skipPageCRC, "B12", by: .damage),
            MutantRow("any-index", .anyIndex, "B12"),
            MutantRow("forget-wheel", .forgetWheel, "B14"),
            MutantRow("held-early", .heldEarly, "B14"),
            MutantRow("due-twice", .dueTwice, "B14"),
            MutantRow("load-rows-once", .loadRowsOnce, "B14"),
            MutantRow("ignore-clock-step", .ignoreClockStep, "B14", within: 100),
            MutantRow("cascade-only-one", .cascadeOnlyOne, "B14"),
            MutantRow("ignore-retry-after", .ignoreRetryAfter, "B14"),
            MutantRow("late-acknowledgement", .lateAcknowledgement, "B15"),
            MutantRow("forget-expiry", .forgetExpiry, "B15"),
            MutantRow("lease-ends-before-sync", .leaseEndsBeforeSync, "B15"),
            MutantRow("settle-twice", .settleTwice, "B15"),
            MutantRow("forget-attempts", .forgetAttempts, "B15"),
            MutantRow("forget-cut-off-attempt", .forgetCutOffAttempt, "B15"),
            MutantRow("call-before-intent", .callBeforeIntent, "B15"),
            MutantRow("drop-commands-when-full", .dropCommandsWhenFull, "B5", within: 60),
            MutantRow("ignore-floor", .ignoreFloor, "B3"),
            MutantRow("never-cut", .neverCut, "B3"),
            MutantRow("sync-without-directory", .syncWithoutDirectory, "B1"),
            MutantRow("release-youngest-first", .releaseYoungestFirst, "B4", by: .cases),
            MutantRow("take-foreign-store", .takeForeignStore, "B5", by: .cases),
            MutantRow("age-by-wall-clock", .ageByWallClock, "B12"),
            MutantRow("keep-without-end", .keepWithoutEnd, "B5"),
            MutantRow("forget-keys-by-size", .forgetKeysBySize, "B12"),
            MutantRow("answer-past-commands", .answerPastCommands, "B1", by: .cases),
            MutantRow("cancel-before-sync", .cancelBeforeSync, "B1"),
            MutantRow("release-before-mark", .releaseBeforeMark, "B4", by: .cases),
        ]
    }

    package static func named(_ name: String) -> Mutant? {
        table.first { $0.name == name }?.mutant
    }
}

#endif
