// The turn's commands on their way into the log: one entry for all of them, or several when they are
// many, and what becomes of them while the disk has no room.

import PulseCore
import PulseLog

/// Commands of one entry, with the leases that they announce and settle.
struct KeptCommands: Sendable {
    var commands: [UInt8]
    var keys: [UInt64]
    var announced: [UInt64]
    var settled: [UInt64]
}

extension Shard {
    /// Appends the turn's commands as one entry, if there are any; returns its position.
    ///
    /// Commands that waited for room go first, and all of them or none: an answer that waits for the
    /// end of the turn must not leave when only some of them are in the log.
    @discardableResult
    func appendTurnCommands(at now: Now) throws(ShardError) -> LogPosition? {
        if !keptCommands.isEmpty {
            let bodies = keptCommands.map(\.commands.count) + [turnCommands.count]
            try fromLog { () throws(LogError) in try log.makeRoom(forBodies: bodies) }
            for kept in keptCommands {
                do throws(ShardError) { try append(kept, at: now) } catch {
                    // Spare files were there and could not be had: nobody may be told half of it.
                    guard case .log(.diskFull(let file)) = error else { throw error }
                    throw .storage(StorageError(.rename, file: file, reason: .noSpace))
                }
            }
            keptCommands.removeAll()
        }
        guard !turnCommands.isEmpty else { return nil }
        let position = try append(turn, at: now)
        clearTurn()
        return position
    }

    private var turn: KeptCommands {
        KeptCommands(
            commands: turnCommands,
            keys: turnKeys,
            announced: turnAnnounced,
            settled: turnSettled
        )
    }

    private func clearTurn() {
        turnCommands.removeAll(keepingCapacity: true)
        turnKeys.removeAll(keepingCapacity: true)
        turnAnnounced.removeAll(keepingCapacity: true)
        turnSettled.removeAll(keepingCapacity: true)
    }

    @discardableResult
    private func append(_ kept: KeptCommands, at now: Now) throws(ShardError) -> LogPosition {
        let position = try append(commands: kept.commands, keys: kept.keys, at: now)
        for lease in kept.announced { announcing.append((lease, position)) }
        for lease in kept.settled { settling.append((lease, position)) }
        return position
    }

    /// Appends commands as one entry.
    func append(
        commands: [UInt8],
        keys: [UInt64] = [],
        at now: Now
    ) throws(ShardError) -> LogPosition {
        let result = commands.withUnsafeBytes { body -> Result<LogPosition, LogError> in
            do throws(LogError) {
                return .success(
                    try log.append(
                        .command,
                        stream: .none,
                        baseOffset: Offset(0),
                        recordCount: 0,
                        at: now.wall,
                        keys: keys,
                        body: body
                    )
                )
            } catch { return .failure(error) }
        }
        return try fromLog { () throws(LogError) in try result.get() }
    }

    /// Appends the commands gathered so far when one more might make their entry too large.
    func makeRoomForCommand(at now: Now) throws(ShardError) {
        guard turnCommands.count > log.bodyBytesMax / 2 else { return }
        try appendCommandsUnlessFull(at: now)
        guard !turnCommands.isEmpty else { return }
        // No room: kept as an entry of their own, or they would grow past what an entry may have.
        keptCommands.append(turn)
        clearTurn()
    }

    /// Appends the turn's commands, or keeps them while the disk has no room for another segment.
    func appendCommandsUnlessFull(at now: Now) throws(ShardError) {
        do throws(ShardError) {
            try appendTurnCommands(at: now)
        } catch {
            guard case .log(.diskFull) = error else { throw error }
            isWaitingForRoom = true
            if Mutant.isOn(.dropCommandsWhenFull) { turnCommands.removeAll() }
        }
    }
}
