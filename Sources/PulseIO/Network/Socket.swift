// The few socket calls that listeners, dialers and connections share.

import Glibc

enum Socket {
    /// A non-blocking stream socket that programs we start do not inherit.
    static func stream(family: Int32, for doing: String) throws(IOFailure) -> OwnedDescriptor {
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        return OwnedDescriptor(
            takingOver: try SystemCall.require(doing) { socket(family, kind, 0) }
        )
    }

    static func set(_ option: Int32, level: Int32, to value: Int32, on descriptor: Int32) {
        // The options set here (no delay, reuse) are improvements, not needs.
        withUnsafePointer(to: value) {
            _ = setsockopt(
                descriptor,
                level,
                option,
                $0,
                socklen_t(MemoryLayout<Int32>.size)
            )
        }
    }

    static func sendWithoutDelay(_ descriptor: Int32) {
        set(TCP_NODELAY, level: Int32(IPPROTO_TCP), to: 1, on: descriptor)
    }

    /// The error a socket keeps for whoever asks, and forgets then: what became of a connect.
    static func pendingError(of descriptor: Int32) -> Int32 {
        var code: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length) == 0 ? code : errno
    }

    static func send(_ bytes: UnsafeRawBufferPointer, on descriptor: Int32) -> SystemCall.Outcome {
        SystemCall.attempt {
            Glibc.send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
        }
    }

    static func receive(
        into buffer: UnsafeMutableRawBufferPointer,
        on descriptor: Int32
    ) -> SystemCall.Outcome {
        SystemCall.attempt { recv(descriptor, buffer.baseAddress, buffer.count, 0) }
    }
}
