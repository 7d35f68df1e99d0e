// One non-blocking TCP socket, closed when it is let go.

internal import Glibc

enum SocketError {
    static func text(_ code: Int32) -> String {
        guard let text = strerror(code) else { return "error \(code)" }
        return String(cString: text)
    }
}

/// Owns its descriptor. Used by the driver's thread only.
final class ClientSocket {
    let descriptor: Int32

    private init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    /// Tries every address of `host` in turn.
    ///
    /// `isAborted` is asked now and then: whether nobody waits for this connection any more.
    static func connect(
        host: String,
        port: UInt16,
        milliseconds: Int64,
        isAborted: () -> Bool
    ) -> Result<ClientSocket, ClientError> {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let found = getaddrinfo(host, String(port), &hints, &list)
        guard found == 0 else {
            let reason = gai_strerror(found).map { String(cString: $0) } ?? "error \(found)"
            return failure(host, port, reason)
        }
        defer { freeaddrinfo(list) }
        var reason = "no address"
        var next = list
        while let address = next?.pointee {
            next = address.ai_next
            let descriptor = Glibc.socket(
                address.ai_family,
                Int32(SOCK_STREAM.rawValue) | O_NONBLOCK | O_CLOEXEC,
                0
            )
            guard descriptor >= 0 else {
                reason = SocketError.text(errno)
                continue
            }
            let socket = ClientSocket(descriptor: descriptor)
            if Glibc.connect(descriptor, address.ai_addr, address.ai_addrlen) != 0 {
                guard errno == EINPROGRESS else {
                    reason = SocketError.text(errno)
                    continue
                }
                if let problem = socket.awaitConnected(milliseconds, isAborted) {
                    reason = problem
                    continue
                }
            }
            var one: Int32 = 1
            setsockopt(
                descriptor,
                Int32(IPPROTO_TCP),
                TCP_NODELAY,
                &one,
                socklen_t(MemoryLayout<Int32>.size)
            )
            return .success(socket)
        }
        return failure(host, port, reason)
    }

    private static func failure(
        _ host: String,
        _ port: UInt16,
        _ reason: String
    ) -> Result<ClientSocket, ClientError> {
        .failure(
            ClientError(
                .connectionFailed,
                "cannot connect to \(host):\(port): \(reason)",
                isRetryable: true
            )
        )
    }

    /// What went wrong, or nil when the socket is connected.
    private func awaitConnected(_ milliseconds: Int64, _ isAborted: () -> Bool) -> String? {
        var left = milliseconds
        while left > 0 {
            // Short sleeps, so that closing the client does not wait for a silent host.
            let slice = min(left, 50)
            left -= slice
            var poller = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            if poll(&poller, 1, Int32(slice)) > 0 {
                var code: Int32 = 0
                var size = socklen_t(MemoryLayout<Int32>.size)
                getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size)
                return code == 0 ? nil : SocketError.text(code)
            }
            if isAborted() { return "the client was closed" }
        }
        return "no answer within \(milliseconds) ms"
    }

    /// Sends as much as the kernel takes; 0 when it takes nothing now.
    func send(_ bytes: [UInt8], from start: Int) -> Result<Int, ClientError> {
        let count = bytes.withUnsafeBytes {
            let rest = UnsafeRawBufferPointer(rebasing: $0[start...])
            return Glibc.send(descriptor, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
        }
        if count >= 0 { return .success(count) }
        if errno == EAGAIN || errno == EINTR { return .success(0) }
        return .failure(lost(SocketError.text(errno)))
    }

    /// Receives what is there; 0 when there is nothing now.
    func receive(into buffer: inout [UInt8]) -> Result<Int, ClientError> {
        let count = buffer.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, 0) }
        if count > 0 { return .success(count) }
        if count == 0 { return .failure(lost("the server closed it")) }
        if errno == EAGAIN || errno == EINTR { return .success(0) }
        return .failure(lost(SocketError.text(errno)))
    }

    private func lost(_ reason: String) -> ClientError {
        ClientError(.connectionClosed, "the connection is gone: \(reason)", isRetryable: true)
    }
}
