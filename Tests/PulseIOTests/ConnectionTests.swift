// Listeners and connections over real loopback sockets.

import Glibc
import PulseCore
import PulseIO
import Testing

@Suite struct ConnectionTests {
    @Test func whatIsSentComesBack() throws {
        let (rig, peers) = try Peers.connected()
        peers.send(Array("hello".utf8))

        #expect(try rig.run { peers.clientGot.count == 5 })
        #expect(peers.clientGot == Array("hello".utf8))
    }

    @Test func aSlowReaderGetsEverythingAndTheBacklogIsTold() throws {
        let (rig, peers) = try Peers.connected()
        let sent = [UInt8].pattern(24 << 20)
        peers.client.pauseReading()
        peers.send(sent)

        #expect(try rig.run { peers.backlogs.contains { $0 > Connection.backlogMax } })
        #expect(peers.server?.backlog ?? 0 > Connection.backlogMax)
        peers.client.resumeReading()
        let arrived = try rig.run { peers.clientGot.count == sent.count }

        #expect(arrived)
        // Compared apart: a failed comparison would print both.
        let isSame = peers.clientGot == sent
        #expect(isSame)
        // Told when it grew over the limit and when it fell under half of it, in turns.
        #expect(peers.backlogs.count >= 2)
        for (index, bytes) in peers.backlogs.enumerated() {
            let isOver = index.isMultiple(of: 2)
            #expect(isOver ? bytes > Connection.backlogMax : bytes < Connection.backlogMax / 2)
        }
    }

    @Test func manySendsOfATurnLeaveInOrder() throws {
        let (rig, peers) = try Peers.connected()
        var expected: [UInt8] = []
        for number in 0..<100 {
            // Some are large enough to be written at once, and must not overtake.
            let bytes = [UInt8](repeating: UInt8(number), count: number % 10 == 3 ? 40_000 : 100)
            expected += bytes
            peers.send(bytes)
        }

        let arrived = try rig.run { peers.clientGot.count == expected.count }
        #expect(arrived)
        let isSame = peers.clientGot == expected
        #expect(isSame)
    }

    /// Its descriptor is there until then, and counts.
    @Test func aConnectionThatIsClosedPolitelyEndsWhenItsPeerCloses() throws {
        let (rig, peers) = try Peers.connected()
        peers.server?.close(abruptly: false)
        #expect(try rig.run { peers.endings == [.byPeer] }, "the client sees the end")
        #expect(try rig.run { peers.ended.count == 2 })
        #expect(peers.ended == [ConnectionID(1), ConnectionID(2)], "the server's own comes last")
    }

    @Test func aConnectionThatIsClosedAtOnceEndsOnce() throws {
        let (_, peers) = try Peers.connected()
        peers.server?.close(abruptly: true)
        peers.server?.close(abruptly: true)
        #expect(peers.ended == [ConnectionID(2)])
    }

    @Test func aPeerThatClosesIsToldOnce() throws {
        let (rig, peers) = try Peers.connected()
        peers.client.close(abruptly: true)

        #expect(try rig.run { !peers.endings.isEmpty })
        #expect(peers.endings == [.byPeer])
        #expect(try !rig.run(forMilliseconds: 20) { peers.endings.count > 1 })
    }

    @Test func closingPolitelySendsEverythingFirst() throws {
        let (rig, peers) = try Peers.connected()
        let sent = [UInt8].pattern(4 << 20)
        let server = try #require(peers.server)
        sent.withUnsafeBytes { server.send($0) }
        server.close(abruptly: false)
        // Unread bytes at the closing side must not turn the close into a reset.
        peers.send(Array("too late".utf8))

        #expect(try rig.run { !peers.endings.isEmpty })

        let isSame = peers.clientGot == sent
        #expect(isSame)
        #expect(peers.endings == [.byPeer])
    }

    @Test func whilePausedNothingIsReadAndAVanishedPeerIsNoticed() throws {
        let (rig, peers) = try Peers.connected()
        peers.server?.pauseReading()
        peers.send(Array("unread".utf8))
        #expect(try !rig.run(forMilliseconds: 30) { peers.serverGotBytes > 0 })

        peers.client.close(abruptly: true)
        peers.server?.resumeReading()
        #expect(try rig.run { !peers.endings.isEmpty })
    }

    @Test func aTakenPortIsNamed() throws {
        let rig = try LoopRig()
        let owner = Peers(rig)
        let first = try Listener(host: "127.0.0.1", port: 0, loop: rig.loop, owner: owner)
        let port = first.address.port
        #expect(port != 0)

        let failure = #expect(throws: IOFailure.self) {
            _ = try Listener(host: "127.0.0.1", port: port, loop: rig.loop, owner: owner)
        }
        #expect(failure?.isAddressInUse == true)
        #expect("\(try #require(failure))" == "address already in use: 127.0.0.1:\(port)")
        first.close()
    }

    @Test func aPortIsFreeAgainWhenItsListenerCloses() throws {
        let rig = try LoopRig()
        let owner = Peers(rig)
        var port: UInt16 = 0
        do {
            let first = try Listener(host: "127.0.0.1", port: 0, loop: rig.loop, owner: owner)
            port = first.address.port
            first.close()
        }
        let second = try Listener(host: "127.0.0.1", port: port, loop: rig.loop, owner: owner)
        #expect(second.address.description == "127.0.0.1:\(port)")
        second.close()
    }

    @Test func aRefusedConnectionSaysWhere() throws {
        let rig = try LoopRig()
        let owner = Peers(rig)
        let listener = try Listener(host: "127.0.0.1", port: 0, loop: rig.loop, owner: owner)
        let port = listener.address.port
        listener.close()

        let failure = #expect(throws: IOFailure.self) {
            _ = try Dialer.connect(host: "127.0.0.1", port: port, timeoutMilliseconds: 500)
        }
        #expect(failure?.code == ECONNREFUSED)
        #expect(failure?.subject == "127.0.0.1:\(port)")
    }

    @Test func anUnknownHostSaysSo() throws {
        let failure = #expect(throws: IOFailure.self) {
            _ = try SocketAddress.resolve(host: "256.1.1.1.", port: 1, toListen: true)
        }
        #expect(failure?.subject == "256.1.1.1.")
    }
}

/// Both ends of one connection in one loop: the server's end sends back what it gets, and reads no
/// more while its backlog is over the limit.
private final class Peers: ListenerOwner, ConnectionOwner {
    var server: Connection?
    var clientGot: [UInt8] = []
    var serverGotBytes = 0
    var backlogs: [Int] = []
    var endings: [Connection.Ending] = []
    var ended: [ConnectionID] = []
    private var dialed: Connection?
    private let rig: LoopRig

    init(_ rig: LoopRig) { self.rig = rig }

    var client: Connection {
        guard let dialed else { preconditionFailure("connected() dials") }
        return dialed
    }

    static func connected() throws -> (LoopRig, Peers) {
        let rig = try LoopRig()
        let peers = Peers(rig)
        let listener = try Listener(host: "127.0.0.1", port: 0, loop: rig.loop, owner: peers)
        peers.dialed = try Connection(
            try Dialer.connect(
                host: "localhost",
                port: listener.address.port,
                timeoutMilliseconds: 500
            ),
            id: ConnectionID(1),
            loop: rig.loop,
            owner: peers
        )
        #expect(try rig.run { peers.server != nil })
        listener.close()
        return (rig, peers)
    }

    func send(_ bytes: [UInt8]) { bytes.withUnsafeBytes { client.send($0) } }

    func accepted(
        _ descriptor: consuming OwnedDescriptor,
        from peer: SocketAddress,
        by listener: Listener
    ) {
        #expect(peer.description.hasPrefix("127.0.0.1:"))
        server = try? Connection(descriptor, id: ConnectionID(2), loop: rig.loop, owner: self)
    }

    func shed(_ count: Int, by listener: Listener) { Issue.record("nothing is to be shed") }

    func received(_ bytes: UnsafeRawBufferPointer, on connection: Connection) {
        if connection === server {
            serverGotBytes += bytes.count
            connection.send(bytes)
        } else {
            clientGot += bytes
        }
    }

    func backlogChanged(to bytes: Int, on connection: Connection) {
        guard connection === server else { return }
        backlogs.append(bytes)
        if bytes > Connection.backlogMax {
            connection.pauseReading()
        } else {
            connection.resumeReading()
        }
    }

    func closed(_ connection: Connection, because reason: Connection.Ending) {
        endings.append(reason)
    }

    func ended(_ connection: Connection) { ended.append(connection.id) }
}
