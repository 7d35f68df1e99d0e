// What the world asks of a client, whatever it speaks.

import PulseCore
import PulseNode

/// One program that talks to the node.
///
/// It is driven by its own timer and by its connection, and never keeps a time of its own.
protocol SimulatedClient: AnyObject {
    var kind: ConnectionKind { get }
    /// Its connection, set and cleared by the world.
    var connection: ConnectionID? { get set }
    /// Whether it has nothing left to do.
    var isDone: Bool { get }
    func timerFired(in world: World)
    func received(_ bytes: [UInt8], in world: World)
    func disconnected(in world: World)
    /// The run is ending: answer everything from now on.
    func becomeDiligent(in world: World)
}

/// One connection between a client and the node: two streams of bytes, each in order.
final class SimulatedConnection {
    let id: ConnectionID
    let client: Int
    let kind: ConnectionKind
    var isOpen = true
    /// Whether the node was told of it; else it never hears of its end.
    var isKnownToNode = false
    /// No byte arrives before one sent earlier.
    var lastAtNode: MonotonicInstant
    var lastAtClient: MonotonicInstant
    /// The node asked not to be given more; what comes waits here.
    var isPaused = false
    var unread: [[UInt8]] = []
    /// Bytes on their way to a client that reads slowly, and whether the node was told.
    let isSlow: Bool
    var backlog = 0
    var isBackedUp = false

    init(
        id: ConnectionID,
        client: Int,
        kind: ConnectionKind,
        at time: MonotonicInstant,
        isSlow: Bool
    ) {
        self.id = id
        self.client = client
        self.kind = kind
        self.isSlow = isSlow
        lastAtNode = time
        lastAtClient = time
    }
}
