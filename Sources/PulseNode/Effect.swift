// Everything a node may ask of the world, in the order in which it must happen.

package import PulseCore
package import PulseDelivery
package import PulseLog

/// Slow work for the background thread.
package enum Job: Sendable {
    case log(LogJob)
    case flushStore
    /// Not to keep other jobs waiting: it reads for long, and nothing depends on it.
    case scrub(ScrubPiece)

    /// Whether it syncs the floor: as a sync of the log, it tells when the disk stalls.
    package var isFloor: Bool {
        if case .log(.writeFloor) = self { true } else { false }
    }

    /// Performs the work on the calling thread.
    package func perform(
        in directory: any LogDirectory,
        store: any StateStore
    ) throws(StorageError) {
        switch self {
        case .log(let job): try job.perform(in: directory)
        case .flushStore: try store.flush()
        case .scrub(let piece): try piece.perform()
        }
    }
}

package enum Effect {
    /// Sync the log, then answer with ``Input/synced(_:)``. A failure stops the process: exit 70.
    case sync(SyncTicket)
    /// Send `EffectQueue.bytes[range]` on a connection, after all that was sent on it before.
    case send(ConnectionID, Range<Int>)
    /// Close once everything sent so far has left, or at once when `abruptly`.
    case close(ConnectionID, abruptly: Bool)
    /// Read no more from this connection until told otherwise.
    case pauseReading(ConnectionID)
    case resumeReading(ConnectionID)
    /// Step with ``Input/timeReached`` no later than this; replaces the earlier request.
    case wake(at: MonotonicInstant)
    case call(CallID, ProviderRequest)
    case run(JobID, Job)
    case log(LogEvent)
    /// The drain is complete: everything is durable and nothing is in flight.
    case drained
    /// Serving cannot go on (a damaged log, a failed write): say why and exit with this code.
    case stop(exitCode: Int32, reason: String)
}

/// The effects of a turn, with one shared buffer for all bytes to send. Reused from turn to turn.
package struct EffectQueue {
    package var effects: [Effect] = []
    package var bytes: [UInt8] = []

    package init() {}

    package mutating func append(_ effect: Effect) { effects.append(effect) }

    /// Queues whatever `write` appends to the shared buffer for sending.
    package mutating func send(on connection: ConnectionID, _ write: (inout [UInt8]) -> Void) {
        let start = bytes.count
        write(&bytes)
        if bytes.count > start { effects.append(.send(connection, start..<bytes.count)) }
    }

    package mutating func removeAll() {
        effects.removeAll(keepingCapacity: true)
        bytes.removeAll(keepingCapacity: true)
    }
}
