// A port that accepts connections, a bounded burst at a time.

import CKernel
import Glibc
import PulseCore

/// Who takes the connections of a listener.
package protocol ListenerOwner: AnyObject {
    /// A connection was accepted: non-blocking, without delay. Usually wrapped in a ``Connection``.
    func accepted(
        _ descriptor: consuming OwnedDescriptor,
        from peer: SocketAddress,
        by listener: Listener
    )
    /// `count` connections were closed unanswered because the process is out of descriptors.
    func shed(_ count: Int, by listener: Listener)
}

/// A listening socket in a loop.
///
/// When the process runs out of descriptors, the waiting connections would keep the port readable and
/// the loop spinning. So one descriptor is kept in reserve: it is given up, the waiting connections are
/// accepted and closed, it is taken again, and the port rests for a moment.
package final class Listener: EventHandler {
    /// Where it listens, with the port the kernel chose when 0 was asked for.
    package let address: SocketAddress

    private let loop: EventLoop
    private unowned let owner: any ListenerOwner
    private let descriptor: OwnedDescriptor
    private var reserve: OwnedDescriptor?
    private var registration: Registration?

    /// Connections accepted in a turn; more wait in the kernel.
    private static let burstMax = 64
    /// Connections the kernel keeps for us to accept: a burst of clients after a restart.
    private static let waitingMax: Int32 = 1024
    /// How long the port rests after the process ran out of descriptors.
    private static let restMilliseconds: Int64 = 100

    /// Binds and listens at once.
    ///
    /// `host` is a name or a number, `port` 0 for any free one.
    package init(
        host: String,
        port: UInt16,
        loop: EventLoop,
        owner: any ListenerOwner
    ) throws(IOFailure) {
        self.loop = loop
        self.owner = owner
        let name = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        guard let wanted = try SocketAddress.resolve(host: host, port: port, toListen: true).first
        else { throw IOFailure("listen on", name, text: "the host has no address") }
        let socket = try Socket.stream(family: wanted.family, for: "listen on " + name)
        let bare = socket.rawValue
        // A restart must not wait for the connections of the last run to be forgotten.
        Socket.set(SO_REUSEADDR, level: SOL_SOCKET, to: 1, on: bare)
        try SystemCall.require("listen on", name) {
            wanted.withSockaddr { bind(bare, $0, $1) }
        }
        try SystemCall.require("listen on", name) { listen(bare, Self.waitingMax) }
        address = SocketAddress(filledBy: { getsockname(bare, $0, $1) }) ?? wanted
        descriptor = socket
        reserve = Self.takeReserve()
        registration = try loop.register(bare, for: .readable, handler: self)
    }

    /// Accepts no more.
    ///
    /// Waiting connections are refused by the kernel once the listener is gone.
    package func close() {
        guard let registration else { return }
        loop.remove(registration)
        self.registration = nil
        _ = shutdown(descriptor.rawValue, Int32(SHUT_RDWR))
    }

    package func ready(_ readiness: Readiness, descriptor: Int32) {
        guard let registration else { return }
        if readiness.contains(.deadline) { loop.update(registration, for: .readable) }
        if readiness.contains(.readable) { acceptBurst() }
    }

    private func acceptBurst() {
        for _ in 0..<Self.burstMax {
            // The owner may have closed us while taking a connection.
            guard registration != nil else { return }
            var peer: SocketAddress?
            let outcome = SystemCall.attempt {
                var accepted: Int32 = -1
                peer = SocketAddress(filledBy: {
                    accepted = pulse_accept(descriptor.rawValue, $0, $1)
                    return accepted
                })
                return Int(accepted)
            }
            switch outcome {
            case .done(let accepted):
                let connection = OwnedDescriptor(takingOver: Int32(accepted))
                Socket.sendWithoutDelay(connection.rawValue)
                owner.accepted(connection, from: peer ?? address, by: self)
            case .wouldBlock: return
            case .failed(EMFILE), .failed(ENFILE), .failed(ENOBUFS), .failed(ENOMEM):
                shedAndRest()
                return
            case .failed:
                // The peer gave up while waiting, or the network did: that connection only.
                continue
            }
        }
    }

    private func shedAndRest() {
        guard let registration else { return }
        reserve = nil
        var count = 0
        while count < Self.burstMax,
            case .done(let accepted) = SystemCall.attempt({
                Int(pulse_accept(descriptor.rawValue, nil, nil))
            })
        {
            OwnedDescriptor(takingOver: Int32(accepted)).close()
            count += 1
        }
        reserve = Self.takeReserve()
        loop.update(registration, for: [])
        loop.setDeadline(
            loop.now.monotonic.advanced(byMilliseconds: Self.restMilliseconds),
            for: registration
        )
        owner.shed(count, by: self)
    }

    private static func takeReserve() -> OwnedDescriptor? {
        let bare = Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC)
        return bare >= 0 ? OwnedDescriptor(takingOver: bare) : nil
    }
}
