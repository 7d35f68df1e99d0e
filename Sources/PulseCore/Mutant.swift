// Deliberate mistakes, by which the checkers are checked: a simulator that finds none of them proves
// nothing when it finds nothing. spec/09-simulation.md has the list.
//
// Only a build with `-DMUTANTS` contains them. In every other one ``isOn(_:)`` is the constant false, so
// that neither a branch nor a name is left of the places that ask:
//
//     if Mutant.isOn(.answerBeforeSync) { ... }

/// One mistake that some place in the code can be told to make.
package struct Mutant: Hashable, Sendable {
    package let number: UInt8

    @inlinable package init(_ number: UInt8) { self.number = number }

    #if MUTANTS
    /// The one mistake this process makes. Set once, before anything else runs.
    nonisolated(unsafe) package static var chosen: Mutant?

    @inlinable @inline(__always)
    package static func isOn(_ mutant: Mutant) -> Bool { chosen == mutant }
    #else
    @inlinable @inline(__always)
    package static func isOn(_ mutant: Mutant) -> Bool { false }
    #endif
}

extension Mutant {
    // B1: answered before it is durable.
    @inlinable package static var answerBeforeSync: Mutant { Mutant(1) }
    @inlinable package static var httpBeforeSync: Mutant { Mutant(2) }
    @inlinable package static var produceBeforeSync: Mutant { Mutant(3) }
    @inlinable package static var templateBeforeSync: Mutant { Mutant(4) }
    @inlinable package static var settleBeforeSync: Mutant { Mutant(5) }
    @inlinable package static var groupBeforeSync: Mutant { Mutant(6) }
    @inlinable package static var durableAtAppend: Mutant { Mutant(7) }

    // B2: a failed sync.
    @inlinable package static var ignoreSyncError: Mutant { Mutant(8) }
    @inlinable package static var retrySync: Mutant { Mutant(9) }
    @inlinable package static var keepCache: Mutant { Mutant(10) }

    // B3 and B4: what recovery takes for the log.
    @inlinable package static var cutDamage: Mutant { Mutant(11) }
    @inlinable package static var skipBodyCRC: Mutant { Mutant(12) }
    @inlinable package static var skipHeaderCRC: Mutant { Mutant(13) }
    @inlinable package static var skipSeed: Mutant { Mutant(14) }
    @inlinable package static var syncedUpToHigh: Mutant { Mutant(15) }
    @inlinable package static var syncedUpToLow: Mutant { Mutant(16) }
    @inlinable package static var floorAhead: Mutant { Mutant(17) }
    @inlinable package static var skipChain: Mutant { Mutant(18) }
    @inlinable package static var skipMissingFile: Mutant { Mutant(19) }
    @inlinable package static var skipSegmentLink: Mutant { Mutant(20) }
    @inlinable package static var rollWithoutDirectorySync: Mutant { Mutant(21) }
    @inlinable package static var rollLosesSealedFile: Mutant { Mutant(22) }

    // B5: the saved state.
    @inlinable package static var emptyForBadCheckpoint: Mutant { Mutant(23) }
    @inlinable package static var replayFromRows: Mutant { Mutant(24) }
    @inlinable package static var rowsWithoutApplied: Mutant { Mutant(25) }
    @inlinable package static var takeRowsFromTheFuture: Mutant { Mutant(26) }
    @inlinable package static var releaseBeforeFlush: Mutant { Mutant(27) }
    @inlinable package static var checkpointInAnyOrder: Mutant { Mutant(28) }
    @inlinable package static var foldBeforeSync: Mutant { Mutant(29) }
    @inlinable package static var cursorAhead: Mutant { Mutant(30) }
    @inlinable package static var forgetDeadRow: Mutant { Mutant(31) }
    @inlinable package static var keepHeldRow: Mutant { Mutant(32) }

    // B12: idempotency keys.
    @inlinable package static var skipDeduplication: Mutant { Mutant(33) }
    @inlinable package static var forgetKeysAtStart: Mutant { Mutant(34) }
    @inlinable package static var forgetKeysAtSeal: Mutant { Mutant(35) }
    @inlinable package static var filterForgets: Mutant { Mutant(36) }
    @inlinable package static var skipPageCRC: Mutant { Mutant(37) }
    @inlinable package static var anyIndex: Mutant { Mutant(38) }

    // B14: what waits for a time.
    @inlinable package static var forgetWheel: Mutant { Mutant(39) }
    @inlinable package static var heldEarly: Mutant { Mutant(40) }
    @inlinable package static var dueTwice: Mutant { Mutant(41) }
    @inlinable package static var loadRowsOnce: Mutant { Mutant(42) }
    @inlinable package static var ignoreClockStep: Mutant { Mutant(43) }
    @inlinable package static var cascadeOnlyOne: Mutant { Mutant(44) }
    @inlinable package static var ignoreRetryAfter: Mutant { Mutant(45) }

    // B15 and attempts: who holds what.
    @inlinable package static var lateAcknowledgement: Mutant { Mutant(46) }
    @inlinable package static var forgetExpiry: Mutant { Mutant(47) }
    @inlinable package static var leaseEndsBeforeSync: Mutant { Mutant(48) }
    @inlinable package static var settleTwice: Mutant { Mutant(49) }
    @inlinable package static var forgetAttempts: Mutant { Mutant(50) }
    @inlinable package static var forgetCutOffAttempt: Mutant { Mutant(51) }
    @inlinable package static var callBeforeIntent: Mutant { Mutant(52) }
    @inlinable package static var dropCommandsWhenFull: Mutant { Mutant(53) }

    // What the torture of the log is after.
    @inlinable package static var ignoreFloor: Mutant { Mutant(54) }
    @inlinable package static var neverCut: Mutant { Mutant(55) }
    @inlinable package static var syncWithoutDirectory: Mutant { Mutant(56) }
    @inlinable package static var releaseYoungestFirst: Mutant { Mutant(57) }
    @inlinable package static var storeNeverTold: Mutant { Mutant(58) }

    // Bugs that whole worlds found.
    @inlinable package static var answerPastCommands: Mutant { Mutant(59) }
}
