// Reaching out: a connected socket for a client, within a time limit.

import CKernel
import Glibc
import PulseCore

package enum Dialer {
    /// Connects to a host, trying its addresses in turn; the result does not block and does not delay.
    ///
    /// Blocks its thread while the name is looked up and the connection is made, so it belongs to a
    /// client's own thread, never to a broker's loop.
    package static func connect(
        host: String,
        port: UInt16,
        timeoutMilliseconds: Int64
    ) throws(IOFailure) -> OwnedDescriptor {
        let deadline = SystemClocks.monotonic().advanced(byMilliseconds: timeoutMilliseconds)
        var last = IOFailure("connect to", "\(host):\(port)", text: "the host has no address")
        for address in try SocketAddress.resolve(host: host, port: port, toListen: false) {
            do throws(IOFailure) {
                return try connect(to: address, by: deadline)
            } catch { last = error }
        }
        throw last
    }

    private static func connect(
        to address: SocketAddress,
        by deadline: MonotonicInstant
    ) throws(IOFailure) -> OwnedDescriptor {
        let name = address.description
        let socket = try Socket.stream(family: address.family, for: "connect to " + name)
        let bare = socket.rawValue
        let outcome = address.withSockaddr { Glibc.connect(bare, $0, $1) == 0 ? 0 : errno }
        // An interrupted connect goes on in the background like one in progress.
        guard outcome == 0 || outcome == EINPROGRESS || outcome == EINTR else {
            throw IOFailure("connect to", name, code: outcome)
        }
        if outcome != 0 { try awaitWritable(bare, name, by: deadline) }
        let code = Socket.pendingError(of: bare)
        guard code == 0 else { throw IOFailure("connect to", name, code: code) }
        Socket.sendWithoutDelay(bare)
        return socket
    }

    private static func awaitWritable(
        _ descriptor: Int32,
        _ name: String,
        by deadline: MonotonicInstant
    ) throws(IOFailure) {
        var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        while true {
            let left = deadline.milliseconds(since: SystemClocks.monotonic())
            let count = poll(&entry, 1, Int32(clamping: left))
            if count > 0 { return }
            if count == 0 { throw IOFailure("connect to", name, code: ETIMEDOUT) }
            let code = errno
            guard code == EINTR else { throw IOFailure("connect to", name, code: code) }
        }
    }
}
