// Deliberate mistakes, by which the checkers are checked: a simulator that finds none of them proves
// nothing when it finds nothing. spec/09-simulation.md has the list.
//
// Only a build with `-DMUTANTS` contains them. In every other one ``isOn(_:)`` is the constant false, so
// that neither a branch nor a name is left of the places that ask:
//
//     if Mutant.isOn(.answerBeforeSync) { ... }

/// One mistake that some place in the code can be told to make.
///
/// Public, because the compiler inlines across modules nothing that is less.
public struct Mutant: Hashable, Sendable {
    public let number: UInt8

    @inlinable public init(_ number: UInt8) { self.number = number }

    #if MUTANTS
    /// The one mistake this process makes. Set once, before anything else runs.
    nonisolated(unsafe) public static var chosen: Mutant?

    @inlinable @inline(__always)
    public static func isOn(_ mutant: Mutant) -> Bool { chosen == mutant }
    #else
    @inlinable @inline(__always)
    public static func isOn(_ mutant: Mutant) -> Bool { false }
    #endif
}

extension Mutant {
    // B1: answered before it is durable.
    @inlinable public static var answerBeforeSync: Mutant { Mutant(1) }
    @inlinable public static var httpBeforeSync: Mutant { Mutant(2) }
    @inlinable public static var produceBeforeSync: Mutant { Mutant(3) }
    @inlinable public static var templateBeforeSync: Mutant { Mutant(4) }
    @inlinable public static var settleBeforeSync: Mutant { Mutant(5) }
    @inlinable public static var groupBeforeSync: Mutant { Mutant(6) }
    @inlinable public static var durableAtAppend: Mutant { Mutant(7) }

    // B2: a failed sync.
    @inlinable public static var ignoreSyncError: Mutant { Mutant(8) }
    @inlinable public static var retrySync: Mutant { Mutant(9) }
    @inlinable public static var keepCache: Mutant { Mutant(10) }

    // B3 and B4: what recovery takes for the log.
    @inlinable public static var cutDamage: Mutant { Mutant(11) }
    @inlinable public static var skipBodyCRC: Mutant { Mutant(12) }
    @inlinable public static var skipHeaderCRC: Mutant { Mutant(13) }
    @inlinable public static var skipSeed: Mutant { Mutant(14) }
    @inlinable public static var syncedUpToHigh: Mutant { Mutant(15) }
    @inlinable public static var syncedUpToLow: Mutant { Mutant(16) }
    @inlinable public static var floorAhead: Mutant { Mutant(17) }
    @inlinable public static var skipChain: Mutant { Mutant(18) }
    @inlinable public static var skipMissingFile: Mutant { Mutant(19) }
    @inlinable public static var skipSegmentLink: Mutant { Mutant(20) }
    @inlinable public static var rollWithoutDirectorySync: Mutant { Mutant(21) }
    @inlinable public static var rollLosesSealedFile: Mutant { Mutant(22) }

    // B5: the saved state.
    @inlinable public static var emptyForBadCheckpoint: Mutant { Mutant(23) }
    @inlinable public static var replayFromRows: Mutant { Mutant(24) }
    @inlinable public static var rowsWithoutApplied: Mutant { Mutant(25) }
    @inlinable public static var takeRowsFromTheFuture: Mutant { Mutant(26) }
    @inlinable public static var releaseBeforeFlush: Mutant { Mutant(27) }
    @inlinable public static var checkpointInAnyOrder: Mutant { Mutant(28) }
    @inlinable public static var foldBeforeSync: Mutant { Mutant(29) }
    @inlinable public static var cursorAhead: Mutant { Mutant(30) }
    @inlinable public static var forgetDeadRow: Mutant { Mutant(31) }
    @inlinable public static var keepHeldRow: Mutant { Mutant(32) }

    // B12: idempotency keys.
    @inlinable public static var skipDeduplication: Mutant { Mutant(33) }
    @inlinable public static var forgetKeysAtStart: Mutant { Mutant(34) }
    @inlinable public static var forgetKeysAtSeal: Mutant { Mutant(35) }
    @inlinable public static var filterForgets: Mutant { Mutant(36) }
    @inlinable public static var skipPageCRC: Mutant { Mutant(37) }
    @inlinable public static var anyIndex: Mutant { Mutant(38) }

    // B14: what waits for a time.
    @inlinable public static var forgetWheel: Mutant { Mutant(39) }
    @inlinable public static var heldEarly: Mutant { Mutant(40) }
    @inlinable public static var dueTwice: Mutant { Mutant(41) }
    @inlinable public static var loadRowsOnce: Mutant { Mutant(42) }
    @inlinable public static var ignoreClockStep: Mutant { Mutant(43) }
    @inlinable public static var cascadeOnlyOne: Mutant { Mutant(44) }
    @inlinable public static var ignoreRetryAfter: Mutant { Mutant(45) }

    // B15 and attempts: who holds what.
    @inlinable public static var lateAcknowledgement: Mutant { Mutant(46) }
    @inlinable public static var forgetExpiry: Mutant { Mutant(47) }
    @inlinable public static var leaseEndsBeforeSync: Mutant { Mutant(48) }
    @inlinable public static var settleTwice: Mutant { Mutant(49) }
    @inlinable public static var forgetAttempts: Mutant { Mutant(50) }
    @inlinable public static var forgetCutOffAttempt: Mutant { Mutant(51) }
    @inlinable public static var callBeforeIntent: Mutant { Mutant(52) }
    @inlinable public static var dropCommandsWhenFull: Mutant { Mutant(53) }

    // What the torture of the log is after.
    @inlinable public static var ignoreFloor: Mutant { Mutant(54) }
    @inlinable public static var neverCut: Mutant { Mutant(55) }
    @inlinable public static var syncWithoutDirectory: Mutant { Mutant(56) }
    @inlinable public static var releaseYoungestFirst: Mutant { Mutant(57) }
    @inlinable public static var takeForeignStore: Mutant { Mutant(58) }

    // Bugs that whole worlds found.
    @inlinable public static var answerPastCommands: Mutant { Mutant(59) }
    @inlinable public static var ageByWallClock: Mutant { Mutant(63) }
    @inlinable public static var keepWithoutEnd: Mutant { Mutant(62) }
    @inlinable public static var forgetKeysBySize: Mutant { Mutant(61) }
    @inlinable public static var cancelBeforeSync: Mutant { Mutant(60) }
    @inlinable public static var releaseBeforeMark: Mutant { Mutant(64) }
}
