// libcurl's multi interface in our loop: it says which sockets and what time to watch, we say when.

import CCurl
import CKernel
import Glibc
import PulseCore

/// Transfers that share connections.
///
/// Belongs to its loop's thread.
///
/// libcurl calls back only from inside our calls to it, on the same thread; no callback calls into
/// libcurl again.
final class CurlPool: EventHandler {
    /// Takes a finished exchange; it may be used again when this returns.
    typealias Finish = (CurlExchange, CURLcode) -> Void

    /// Every socket that libcurl has open, idle ones too.
    var openSockets: Set<Int32> = []

    private let loop: EventLoop
    private let multi: UnsafeMutableRawPointer
    private let finish: Finish
    private var timer: Registration?
    private var isClosed = false
    private var idle: [CurlExchange] = []
    private var running: [UnsafeMutableRawPointer: CurlExchange] = [:]
    /// Watched sockets: libcurl may close one and open another of the same number.
    private var watched: [Int32: Registration] = [:]

    /// - Parameter connectionsKept: Connections to all hosts, idle ones included: an idle one is closed
    ///   to make room.
    init(
        loop: EventLoop,
        connectionsPerHost: Int,
        connectionsKept: Int,
        finish: @escaping Finish
    ) throws(IOFailure) {
        // Once in a process; safe from any thread.
        let code = Self.initialized
        guard code == CURLE_OK, let multi = curl_multi_init() else {
            throw IOFailure("start libcurl", text: String(cString: curl_easy_strerror(code)))
        }
        self.loop = loop
        self.multi = multi
        self.finish = finish
        pulse_curl_multi_set_long(multi, CURLMOPT_MAX_HOST_CONNECTIONS, connectionsPerHost)
        pulse_curl_multi_set_long(multi, CURLMOPT_MAXCONNECTS, connectionsKept)
        timer = try loop.register(-1, for: [], handler: self)
        pulse_curl_multi_set_callbacks(
            multi,
            socketChanged,
            timerChanged,
            Unmanaged.passUnretained(self).toOpaque()
        )
    }

    /// An exchange to prepare and ``start(_:)``, or nil when libcurl is out of memory.
    func exchange(_ role: CurlExchange.Role, authorities: String?) -> CurlExchange? {
        idle.popLast() ?? CurlExchange(role, pool: self, authorities: authorities)
    }

    /// Begins in the next turn: libcurl asks for a deadline of now.
    func start(_ exchange: CurlExchange) {
        precondition(!isClosed, "a closed pool starts nothing")
        running[exchange.easy] = exchange
        let code = curl_multi_add_handle(multi, exchange.easy)
        precondition(code == CURLM_OK, "a handle that is not running can be started")
    }

    /// Abandons what is running and closes every connection, without farewells: see
    /// `CurlExchange.dropConnection`.
    func close() {
        guard !isClosed else { return }
        isClosed = true
        for socket in openSockets { _ = shutdown(socket, Int32(SHUT_RDWR)) }
        for exchange in running.values { curl_multi_remove_handle(multi, exchange.easy) }
        running = [:]
        idle = []
        curl_multi_cleanup(multi)
        for registration in watched.values { loop.remove(registration) }
        watched = [:]
        if let timer { loop.remove(timer) }
        timer = nil
    }

    // MARK: From the loop to libcurl

    func ready(_ readiness: Readiness, descriptor: Int32) {
        guard !isClosed else { return }
        var left: Int32 = 0
        if descriptor < 0 {
            curl_multi_socket_action(multi, -1, 0, &left)
        } else {
            var events: Int32 = 0
            if readiness.contains(.readable) { events |= CURL_CSELECT_IN }
            if readiness.contains(.writable) { events |= CURL_CSELECT_OUT }
            if readiness.contains(.gone) { events |= CURL_CSELECT_ERR }
            curl_multi_socket_action(multi, descriptor, events, &left)
        }
        tellFinished()
    }

    private func tellFinished() {
        var exit = CURLE_OK
        while !isClosed, let easy = pulse_curl_multi_next_done(multi, &exit) {
            guard let exchange = running[easy] else { continue }
            curl_multi_remove_handle(multi, easy)
            if exchange.prepareSecondTry(after: exit, at: loop.now.monotonic) {
                curl_multi_add_handle(multi, easy)
                continue
            }
            running[easy] = nil
            finish(exchange, exit)
            exchange.reset()
            if !isClosed { idle.append(exchange) }
        }
    }

    // MARK: From libcurl to the loop

    fileprivate func watch(_ socket: Int32, _ what: Int32, for easy: UnsafeMutableRawPointer?) {
        guard !isClosed else { return }
        if let easy { running[easy]?.watches(socket, what != CURL_POLL_REMOVE) }
        if what == CURL_POLL_REMOVE {
            if let registration = watched.removeValue(forKey: socket) {
                loop.remove(registration)
            }
            return
        }
        var interest: Readiness = []
        if what & CURL_POLL_IN != 0 { interest.insert(.readable) }
        if what & CURL_POLL_OUT != 0 { interest.insert(.writable) }
        if let registration = watched[socket] {
            loop.update(registration, for: interest)
        } else {
            // A socket that cannot be watched ends with its transfer's deadline.
            watched[socket] = try? loop.register(socket, for: interest, handler: self)
        }
    }

    fileprivate func wake(inMilliseconds milliseconds: Int) {
        guard let timer else { return }
        let instant =
            milliseconds < 0
            ? MonotonicInstant.distantFuture
            : SystemClocks.monotonic().advanced(byMilliseconds: Int64(milliseconds))
        loop.setDeadline(instant, for: timer)
    }

    static func from(_ context: UnsafeMutableRawPointer?) -> CurlPool? {
        context.map { Unmanaged<CurlPool>.fromOpaque($0).takeUnretainedValue() }
    }

    private static let initialized: CURLcode = curl_global_init(Int(CURL_GLOBAL_SSL))
}

private func socketChanged(
    easy: UnsafeMutableRawPointer?,
    socket: curl_socket_t,
    what: Int32,
    context: UnsafeMutableRawPointer?,
    own: UnsafeMutableRawPointer?
) -> Int32 {
    CurlPool.from(context)?.watch(socket, what, for: easy)
    return 0
}

private func timerChanged(
    multi: UnsafeMutableRawPointer?,
    milliseconds: Int,
    context: UnsafeMutableRawPointer?
) -> Int32 {
    CurlPool.from(context)?.wake(inMilliseconds: milliseconds)
    return 0
}
