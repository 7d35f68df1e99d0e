// One conversation over TCP: reads a bounded piece a turn, writes once a turn, closes politely.

import Glibc
package import PulseCore

/// Who a connection talks to.
///
/// Called during the turn, between its beginning and its end.
package protocol ConnectionOwner: AnyObject {
    /// `bytes` are borrowed: valid until this returns.
    func received(_ bytes: UnsafeRawBufferPointer, on connection: Connection)
    /// The bytes waiting to be sent grew over ``Connection/backlogMax``, or fell below half of it.
    func backlogChanged(to bytes: Int, on connection: Connection)
    /// The peer closed, or the connection failed. Told once, and not after ``Connection/close(abruptly:)``.
    func closed(_ connection: Connection, because reason: Connection.Ending)
    /// The descriptor is closed. Told once for every connection, however it came to its end.
    func ended(_ connection: Connection)
}

/// A connected socket in a loop; owns its descriptor.
///
/// The loop keeps it alive until it has ended.
///
///     open --close()--> flushing --all sent--> lingering --peer closed, or time--> ended
///       |                  `--------------- failure -----------------------------^
///       `--peer closed, failure, close(abruptly)---------------------------------^
package final class Connection: EventHandler {
    /// Why a connection ended without being asked to.
    package enum Ending: Hashable, Sendable {
        case byPeer
        case failed(IOFailure)
    }

    private enum State {
        /// Reads and writes. Becomes `flushing` or `ended`.
        case open
        /// Asked to close; the backlog still leaves, nothing is read. Becomes `lingering` or `ended`.
        case flushing
        /// Everything has left and we said so; what the peer still sends is thrown away. Closing at
        /// once would answer it with a reset, which destroys our last bytes in the peer's buffer.
        case lingering
        case ended
    }

    package let id: ConnectionID
    /// Bytes waiting to be sent.
    package var backlog: Int { outgoing.count }

    /// The backlog at which the owner is told to stop answering.
    package static let backlogMax = Limits.outgoingBytesMax
    /// A send this large is written at once when nothing waits before it: that saves a copy, and
    /// collecting it with others would not save a call worth as much.
    private static let directSendBytesMin = 32 << 10
    /// How long a peer may go on sending after we have closed.
    private static let lingerMilliseconds: Int64 = 1000
    /// How long a closing connection may take to send its backlog.
    private static let flushMilliseconds: Int64 = 10_000

    private let loop: EventLoop
    private unowned let owner: any ConnectionOwner
    private var descriptor: OwnedDescriptor?
    private var registration: Registration?
    private var state = State.open
    private var outgoing = OutgoingBytes()
    private var readingPaused = false
    private var interest: Readiness = .readable
    /// Whether the loop will call us at the end of this turn.
    private var writesAtTurnEnd = false
    /// Whether the owner was last told of a backlog over the limit.
    private var backlogTold = false
    /// A failure met while writing, to be told in the next turn.
    private var failure: IOFailure?

    package init(
        _ descriptor: consuming OwnedDescriptor,
        id: ConnectionID,
        loop: EventLoop,
        owner: any ConnectionOwner
    ) throws(IOFailure) {
        self.id = id
        self.loop = loop
        self.owner = owner
        let bare = descriptor.rawValue
        self.descriptor = consume descriptor
        registration = try loop.register(bare, for: .readable, handler: self)
    }

    // MARK: What the owner asks for

    /// Sends after everything sent before.
    ///
    /// The bytes leave when the turn ends, all in one write; what the kernel does not take then
    /// waits and leaves as the peer reads.
    package func send(_ bytes: UnsafeRawBufferPointer) {
        guard state == .open, failure == nil, !bytes.isEmpty else { return }
        if outgoing.isEmpty, bytes.count >= Self.directSendBytesMin {
            let written = write(bytes)
            guard failure == nil, written < bytes.count else { return }
            outgoing.append(UnsafeRawBufferPointer(rebasing: bytes[written...]))
        } else {
            outgoing.append(bytes)
        }
        writeAtTurnEnd()
    }

    /// Reads no more until ``resumeReading()``; the peer is slowed down by its full window.
    package func pauseReading() {
        readingPaused = true
        updateInterest()
    }

    package func resumeReading() {
        readingPaused = false
        updateInterest()
    }

    /// Closes: at once, with a reset when bytes are unread, or politely after everything sent has
    /// left.
    ///
    /// The owner hears nothing more of it.
    package func close(abruptly: Bool) {
        guard state == .open else {
            if abruptly { end() }
            return
        }
        if abruptly || failure != nil {
            end()
        } else {
            state = .flushing
            setDeadline(in: Self.flushMilliseconds)
            updateInterest()
            writeAtTurnEnd()
        }
    }

    // MARK: What the loop tells

    package func ready(_ readiness: Readiness, descriptor: Int32) {
        guard state != .ended else { return }
        if readiness.contains(.deadline) {
            end()
            return
        }
        if readiness.contains(.posted) {
            tellWhatWritingMet()
            return
        }
        if readiness.contains(.turnEnding) { writesAtTurnEnd = false }
        if readiness.contains(.writable) || readiness.contains(.turnEnding) { writeBacklog() }
        if readiness.contains(.readable) {
            read()
        } else if readiness.contains(.gone), failure == nil {
            // Not asked to read, yet gone both ways: nothing can be sent, so nothing is worth waiting
            // for, and the loop would be told again at once.
            let code = descriptor >= 0 ? Socket.pendingError(of: descriptor) : 0
            endTelling(code == 0 ? .byPeer : .failed(IOFailure("use a connection", code: code)))
        }
    }

    private func read() {
        // An event fetched before the owner paused us may be told after: what is not wanted now stays
        // in the kernel.
        guard let bare = descriptor?.rawValue,
            state == .open && !readingPaused || state == .lingering
        else { return }
        switch Socket.receive(into: loop.readBuffer, on: bare) {
        case .done(0): endTelling(.byPeer)
        case .done(let count):
            guard state == .open else { return }
            owner.received(
                UnsafeRawBufferPointer(rebasing: loop.readBuffer[..<count]),
                on: self
            )
        case .wouldBlock: return
        case .failed(let code): endTelling(Self.ending(of: code, doing: "read from a connection"))
        }
    }

    /// Writes the backlog as far as the kernel takes it.
    private func writeBacklog() {
        guard failure == nil else { return }
        if !outgoing.isEmpty {
            let written = outgoing.withUnsafeBytes { write($0) }
            outgoing.sent(written)
        }
        if failure == nil, state == .flushing, outgoing.isEmpty {
            linger()
        }
        updateInterest()
        let isOver = backlogTold ? backlog >= Self.backlogMax / 2 : backlog > Self.backlogMax
        if isOver != backlogTold, state == .open { loop.callNextTurn(self) }
    }

    /// One write.
    ///
    /// Returns how many bytes the kernel took; a failure is kept to be told next turn.
    private func write(_ bytes: UnsafeRawBufferPointer) -> Int {
        guard let bare = descriptor?.rawValue else { return 0 }
        switch Socket.send(bytes, on: bare) {
        case .done(let count): return count
        case .wouldBlock: return 0
        case .failed(let code):
            failure = IOFailure("write to a connection", code: code)
            loop.callNextTurn(self)
            return 0
        }
    }

    /// Called outside the owner's turn, writing may only note what it met; this tells it.
    private func tellWhatWritingMet() {
        if let failure {
            endTelling(Self.ending(of: failure.code, doing: failure.doing))
            return
        }
        guard state == .open else { return }
        let isOver = backlogTold ? backlog >= Self.backlogMax / 2 : backlog > Self.backlogMax
        guard isOver != backlogTold else { return }
        backlogTold = isOver
        owner.backlogChanged(to: backlog, on: self)
    }

    // MARK: Endings

    private func linger() {
        guard let bare = descriptor?.rawValue else { return }
        state = .lingering
        _ = shutdown(bare, Int32(SHUT_WR))
        setDeadline(in: Self.lingerMilliseconds)
    }

    private func endTelling(_ reason: Ending) {
        let wasOpen = state == .open
        end()
        if wasOpen { owner.closed(self, because: reason) }
    }

    private func end() {
        guard state != .ended else { return }
        state = .ended
        if let registration { loop.remove(registration) }
        registration = nil
        outgoing.removeAll()
        descriptor = nil
        owner.ended(self)
    }

    /// A reset is a peer that went away, not a fault of ours worth a line in the log.
    private static func ending(of code: Int32, doing: String) -> Ending {
        code == ECONNRESET || code == EPIPE ? .byPeer : .failed(IOFailure(doing, code: code))
    }

    // MARK: What we ask of the loop

    private func writeAtTurnEnd() {
        guard !writesAtTurnEnd else { return }
        writesAtTurnEnd = true
        loop.callAtTurnEnd(self)
    }

    private func updateInterest() {
        guard let registration else { return }
        var wanted: Readiness = []
        switch state {
        case .open: if !readingPaused { wanted.insert(.readable) }
        case .flushing, .ended: break
        case .lingering: wanted.insert(.readable)
        }
        if !outgoing.isEmpty, !writesAtTurnEnd { wanted.insert(.writable) }
        guard wanted != interest else { return }
        interest = wanted
        loop.update(registration, for: wanted)
    }

    private func setDeadline(in milliseconds: Int64) {
        guard let registration else { return }
        loop.setDeadline(
            loop.now.monotonic.advanced(byMilliseconds: milliseconds),
            for: registration
        )
    }
}
