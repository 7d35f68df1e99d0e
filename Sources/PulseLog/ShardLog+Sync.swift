// Making written bytes durable: the sync and its ticket.

package import PulseCore

/// A sync that was begun: which files, and what it will have made durable. A value, so that the
/// shell may perform it on another thread while the log goes on appending.
package struct SyncWork: Sendable {
    package let ticket: SyncTicket
    /// Where the log will be durable up to.
    package let position: LogPosition
    let chain: UInt32
    let files: [any LogFile]
    let directory: (any LogDirectory)?

    /// Syncs the files, oldest segment first. Never to be repeated after an error: the kernel tells
    /// of lost pages once.
    package func perform() throws(StorageError) {
        for file in files { try file.sync() }
        if let directory { try directory.syncDirectory() }
    }
}

extension ShardLog {
    /// Begins a sync of everything written so far; nil when there is nothing to sync, or when one
    /// is already in flight. What is written after this call belongs to the next sync.
    package func beginSync() -> SyncTicket? {
        guard syncInFlight == nil, written > durable else { return nil }
        lastTicket += 1
        let work = SyncWork(
            ticket: SyncTicket(lastTicket),
            position: LogPosition(written),
            chain: writtenChain,
            files: Mutant.isOn(.rollLosesSealedFile) ? Array(dirty.suffix(1)) : dirty,
            directory: directoryIsDirty && !Mutant.isOn(.syncWithoutDirectory) ? directory : nil
        )
        dirty.removeAll(keepingCapacity: true)
        directoryIsDirty = false
        syncInFlight = work
        return work.ticket
    }

    /// The sync in flight, for a shell that performs it on a thread of its own.
    package var pendingSync: SyncWork? { syncInFlight }

    /// Performs the sync in flight on this thread, exactly once a ticket. After an error nothing
    /// more may be promised or appended: the process stops.
    package func performSync() throws(StorageError) {
        guard let work = syncInFlight else {
            preconditionFailure("a sync is performed after it was begun")
        }
        do throws(StorageError) {
            try work.perform()
        } catch {
            if Mutant.isOn(.ignoreSyncError) { return }
            if Mutant.isOn(.retrySync) { return try work.perform() }
            refusal = .storage(error)
            throw error
        }
    }

    /// The sync with this ticket has succeeded: all it covers is durable.
    package func completeSync(_ ticket: SyncTicket) {
        guard let work = syncInFlight, work.ticket == ticket else {
            preconditionFailure("only the sync in flight can complete")
        }
        durable = Mutant.isOn(.durableAtAppend) ? written : work.position.rawValue
        durableChain = work.chain
        syncInFlight = nil
    }
}
