// The network: ordered streams of bytes, cut anywhere, late by a drawn time, broken off now and
// then.

import PulseBroker
import PulseCore
import PulseLog
import PulseNode

extension World {
    // MARK: - The client's side

    /// Opens a connection for a client.
    ///
    /// When the node is down the client soon hears that it is closed.
    func connect(_ client: any SimulatedClient, _ index: Int) {
        let id = ConnectionID(nextConnection)
        nextConnection += 1
        let isSlow = isFaulty && faults.chance(perThousand: plan.slowReaderPerThousand)
        let connection = SimulatedConnection(
            id: id,
            client: index,
            kind: client.kind,
            at: time,
            isSlow: isSlow
        )
        connections[id] = connection
        client.connection = id
        guard node != nil else {
            connection.isOpen = false
            queue.add(.closedAtClient(id), at: after(microseconds: latency(connection)))
            return
        }
        connection.lastAtNode = after(microseconds: latency(connection))
        queue.add(.opened(id), at: connection.lastAtNode)
    }

    /// Sends bytes, in pieces; sometimes the connection breaks off on the way.
    func send(_ bytes: [UInt8], from client: any SimulatedClient) {
        guard let id = client.connection, let connection = connections[id], connection.isOpen else {
            return
        }
        let breaks = isFaulty && faults.chance(perThousand: plan.resetPerThousand)
        let reach = breaks ? faults.below(bytes.count + 1) : bytes.count
        var start = 0
        while start < reach {
            let end = piece(from: start, to: reach)
            connection.lastAtNode = max(
                connection.lastAtNode,
                after(microseconds: latency(connection))
            )
            queue.add(.toNode(id, Array(bytes[start..<end])), at: connection.lastAtNode)
            start = end
        }
        guard breaks else { return }
        connection.isOpen = false
        queue.add(.closedAtNode(id), at: connection.lastAtNode)
        queue.add(.closedAtClient(id), at: after(microseconds: latency(connection)))
    }

    /// A client hangs up: the node hears of it after all that was sent before.
    func hangUp(_ client: any SimulatedClient) {
        guard let id = client.connection, let connection = connections[id] else { return }
        client.connection = nil
        trace("client \(connection.client) hangs up \(id.rawValue)")
        if connection.isOpen {
            connection.isOpen = false
            connection.lastAtNode = max(
                connection.lastAtNode,
                after(microseconds: latency(connection))
            )
            queue.add(.closedAtNode(id), at: connection.lastAtNode)
        }
        client.disconnected(in: self)
    }

    func arriveAtClient(_ id: ConnectionID, _ bytes: [UInt8]) {
        guard let connection = connections[id] else { return }
        connection.backlog -= bytes.count
        if connection.isBackedUp, connection.backlog < Self.backlogBytes / 2 {
            connection.isBackedUp = false
            queue.add(.backlog(id, bytes: 0), at: time)
        }
        let client = clients[connection.client]
        guard client.connection == id else { return }
        trace("\(bytes.count) bytes to client \(connection.client)")
        client.received(bytes, in: self)
    }

    func closeAtClient(_ id: ConnectionID) {
        guard let connection = connections[id] else { return }
        connection.isOpen = false
        if !connection.isKnownToNode { connections[id] = nil }
        let client = clients[connection.client]
        guard client.connection == id else { return }
        client.connection = nil
        trace("client \(connection.client) loses \(id.rawValue)")
        client.disconnected(in: self)
    }

    // MARK: - The node's side

    func open(_ id: ConnectionID) {
        guard let connection = connections[id], node != nil else { return }
        connection.isKnownToNode = true
        trace("opened \(id.rawValue)")
        step(.opened(id, connection.kind))
    }

    func arriveAtNode(_ id: ConnectionID, _ bytes: [UInt8]) {
        guard let connection = connections[id], connection.isKnownToNode, node != nil else {
            return
        }
        if connection.isPaused {
            connection.unread.append(bytes)
            return
        }
        trace("\(bytes.count) bytes from client \(connection.client)")
        bytes.withUnsafeBytes { step(.received(id, $0)) }
    }

    func resumeReading(_ id: ConnectionID) {
        guard let connection = connections[id], connection.isPaused else { return }
        connection.isPaused = false
        for bytes in connection.unread { queue.add(.toNode(id, bytes), at: time) }
        connection.unread.removeAll()
    }

    /// The other end is gone, as far as the node can see.
    func closeAtNode(_ id: ConnectionID) {
        guard let connection = connections[id] else { return }
        if connection.isKnownToNode {
            connection.isKnownToNode = false
            step(.closed(id))
        }
        if clients[connection.client].connection != id { connections[id] = nil }
    }

    /// Bytes that the socket takes before the node hears that the client does not read.
    private static let backlogBytes = 4096

    func sendToClient(_ id: ConnectionID, _ bytes: [UInt8]) {
        guard let connection = connections[id], connection.isOpen else { return }
        var start = 0
        while start < bytes.count {
            let end = piece(from: start, to: bytes.count)
            connection.lastAtClient = max(
                connection.lastAtClient,
                after(microseconds: latency(connection))
            )
            queue.add(
                .toClient(
                    id,
                    Array(bytes[start..<end]),
                    durable: node?.shard.log.durablePosition ?? .zero,
                    life: life
                ),
                at: connection.lastAtClient
            )
            start = end
        }
        connection.backlog += bytes.count
        if !connection.isBackedUp, connection.backlog >= Self.backlogBytes, connection.isSlow {
            connection.isBackedUp = true
            queue.add(.backlog(id, bytes: Limits.outgoingBytesMax), at: time)
        }
    }

    /// The node closes a connection once all it sent has left.
    func closeFromNode(_ id: ConnectionID) {
        guard let connection = connections[id] else { return }
        connection.isKnownToNode = false
        connection.isOpen = false
        queue.add(
            .closedAtClient(id),
            at: max(connection.lastAtClient, after(microseconds: latency(connection)))
        )
    }

    // MARK: - Draws

    private func latency(_ connection: SimulatedConnection) -> Int {
        let network = knobs.networkMicroseconds
        let once = network.least + schedule.below(network.spread + 1)
        return connection.isSlow ? once * 10 : once
    }

    /// Where a piece of bytes ends: mostly all at once, sometimes after a byte or two.
    private func piece(from start: Int, to end: Int) -> Int {
        guard schedule.chance(perThousand: 150) else { return end }
        return start + 1 + schedule.below(end - start)
    }
}
