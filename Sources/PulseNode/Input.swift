// Everything that can happen to a node. The shell (or the simulator) turns the world into these.

package import PulseCore
package import PulseDelivery

/// What kind of conversation a connection holds; decided by the port it came to.
package enum ConnectionKind: Sendable {
    case http
    case native
}

/// One thing that happened. Bytes are borrowed for the duration of the step.
package enum Input {
    /// A connection was accepted. `peer` is for logs only.
    case opened(ConnectionID, ConnectionKind)
    case received(ConnectionID, UnsafeRawBufferPointer)
    /// The peer is gone, or the connection failed; nothing can be sent any more.
    case closed(ConnectionID)
    /// How many bytes still wait to be sent on a connection, told when it crossed
    /// ``Limits/outgoingBytesMax`` or fell below half of it.
    case backlog(ConnectionID, bytes: Int)
    /// The sync with this ticket completed: all it covers is on stable storage.
    case synced(SyncTicket)
    /// A deadline asked for with ``Effect/wake(at:)`` may have been reached.
    case timeReached
    /// A call left long after it was asked for, because the disk held the shell up: its time begins now.
    case callLeft(CallID)
    case providerAnswered(CallID, ProviderAnswer)
    /// A background job ended; an error is told as text and as whether the disk was full.
    case jobFinished(JobID, failure: StorageError?)
    /// What the shell saw of the disk; told when something changed.
    case disk(DiskStatus)
    /// SIGTERM: finish what is in flight, accept nothing new.
    case drainRequested
}
