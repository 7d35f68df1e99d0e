// One easy handle of libcurl with everything its callbacks touch. Recycled from call to call.

import CCurl
import CKernel
import Glibc
import PulseCore
import PulseDelivery

/// A transfer in libcurl: mail or post, for its whole life one of the two, so that the options which
/// never change are set once.
///
/// libcurl holds an unretained pointer to it; the pool that made it keeps it alive until the handle
/// is gone.
final class CurlExchange {
    enum Role {
        case mail
        /// A POST; when guarded, only to public addresses.
        case post(isGuarded: Bool)
    }

    let role: Role
    let easy: UnsafeMutableRawPointer
    unowned let pool: CurlPool
    var call = CallID(0)

    // Mail.

    var request: SMTPRequest?
    var dialogue = SMTPDialogue(security: .none, needsAuthentication: false)
    /// Bytes of the message libcurl has taken.
    var messageTaken = 0
    var lacksAuthentication = false
    /// Whether this is a second try, after a pooled connection turned out to be dead.
    var isSecondTry = false
    var startedAt = MonotonicInstant(nanoseconds: 0)

    // Post.

    var reception = HTTPReception()
    /// An address that was refused because it is not a public one.
    var forbiddenAddress: String?

    /// The connections of the running transfer: one, or more while libcurl tries which answers first.
    private var sockets: [Int32] = []
    /// Recipients or header fields: libcurl does not copy a list.
    private var list: UnsafeMutablePointer<curl_slist>?
    private let errorText: UnsafeMutablePointer<CChar>

    private static let connectMilliseconds = 10_000
    /// Bytes libcurl reads and writes at once; its own default of 64 KiB would be allocated and
    /// freed for every mail.
    private static let bufferBytes = 16 << 10

    init?(_ role: Role, pool: CurlPool, authorities: String?) {
        guard let easy = curl_easy_init() else { return nil }
        self.role = role
        self.easy = easy
        self.pool = pool
        errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
        errorText.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
        setConstants(authorities)
    }

    deinit {
        curl_easy_cleanup(easy)
        curl_slist_free_all(list)
        errorText.deallocate()
    }

    // MARK: Options

    func set(_ option: CURLoption, _ value: Int) { pulse_curl_set_long(easy, option, value) }
    func set(_ option: CURLoption, _ value: String?) { pulse_curl_set_text(easy, option, value) }

    /// Sets a list option; the list lives until the next one replaces it.
    func set(_ option: CURLoption, list entries: [String]) {
        var new: UnsafeMutablePointer<curl_slist>?
        for entry in entries { new = curl_slist_append(new, entry) }
        pulse_curl_set_list(easy, option, new)
        curl_slist_free_all(list)
        list = new
    }

    func setTimeout(milliseconds: Int64) {
        let timeout = Int(max(1, min(milliseconds, 3_600_000)))
        set(CURLOPT_TIMEOUT_MS, timeout)
        set(CURLOPT_CONNECTTIMEOUT_MS, min(timeout, Self.connectMilliseconds))
    }

    private func setConstants(_ authorities: String?) {
        let context = Unmanaged.passUnretained(self).toOpaque()
        set(CURLOPT_NOSIGNAL, 1)
        set(CURLOPT_NOPROGRESS, 1)
        set(CURLOPT_FOLLOWLOCATION, 0)
        // An empty proxy and a star keep the environment's proxies out.
        set(CURLOPT_PROXY, "")
        set(CURLOPT_NOPROXY, "*")
        set(CURLOPT_SSL_VERIFYPEER, 1)
        set(CURLOPT_SSL_VERIFYHOST, 2)
        set(CURLOPT_UPLOAD_BUFFERSIZE, Self.bufferBytes)
        if let authorities { set(CURLOPT_CAINFO, authorities) }
        pulse_curl_set_pointer(easy, CURLOPT_ERRORBUFFER, errorText)
        pulse_curl_set_pointer(easy, CURLOPT_HEADERDATA, context)
        pulse_curl_set_transfer(easy, CURLOPT_HEADERFUNCTION, headerArrived)
        pulse_curl_set_pointer(easy, CURLOPT_WRITEDATA, context)
        pulse_curl_set_transfer(easy, CURLOPT_WRITEFUNCTION, bodyArrived)
        pulse_curl_set_pointer(easy, CURLOPT_OPENSOCKETDATA, context)
        pulse_curl_set_open(easy, socketWanted)
        pulse_curl_set_pointer(
            easy,
            CURLOPT_CLOSESOCKETDATA,
            Unmanaged.passUnretained(pool).toOpaque()
        )
        pulse_curl_set_close(easy, socketDone)
        switch role {
        case .mail:
            set(CURLOPT_PROTOCOLS_STR, "smtp,smtps")
            set(CURLOPT_UPLOAD, 1)
            pulse_curl_set_pointer(easy, CURLOPT_READDATA, context)
            pulse_curl_set_transfer(easy, CURLOPT_READFUNCTION, messageWanted)
        case .post:
            set(CURLOPT_PROTOCOLS_STR, "http,https")
            set(CURLOPT_POST, 1)
            set(CURLOPT_USERAGENT, "pulse")
        }
    }

    // MARK: Outcome

    /// What libcurl says of a failed transfer: its own sentence, or that of the exit code.
    func reason(_ exit: CURLcode) -> String {
        let sentence = String(cString: errorText)
        return sentence.isEmpty ? String(cString: curl_easy_strerror(exit)) : sentence
    }

    /// Forgets the call, its message and its credentials; the handle and its options stay.
    func reset() {
        request = nil
        reception = HTTPReception()
        forbiddenAddress = nil
        lacksAuthentication = false
        isSecondTry = false
        messageTaken = 0
        sockets.removeAll(keepingCapacity: true)
        errorText[0] = 0
    }

    // MARK: Callbacks

    /// A reply line or a header line.
    ///
    /// Returning less than all ends the transfer.
    fileprivate func received(header bytes: UnsafeRawBufferPointer) -> Int {
        guard case .mail = role else {
            reception.receive(header: bytes)
            return bytes.count
        }
        switch dialogue.receive(bytes) {
        case .nothing: return bytes.count
        case .refused:
            dropConnection()
            return bytes.count
        case .noAuthentication:
            lacksAuthentication = true
            dropConnection()
            return 0
        }
    }

    /// After a refusal libcurl closes the connection with QUIT and waits for the reply in place: a
    /// round trip in which the loop serves nobody, and two minutes when the server is gone.
    ///
    /// On a connection that is shut down the QUIT fails at once instead.
    private func dropConnection() {
        for socket in sockets { _ = shutdown(socket, Int32(SHUT_RDWR)) }
    }

    /// libcurl watches one of its connections on our behalf, or no longer does.
    ///
    /// It would tell the socket of a transfer itself, but only after the transfer.
    func watches(_ socket: Int32, _ isWatched: Bool) {
        sockets.removeAll { $0 == socket }
        if isWatched, pool.openSockets.contains(socket) { sockets.append(socket) }
    }

    fileprivate func received(body bytes: UnsafeRawBufferPointer) -> Int {
        guard case .post = role else { return bytes.count }
        return reception.receive(body: bytes) ? bytes.count : 0
    }

    fileprivate func takeMessage(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        guard let request else { return 0 }
        let count = min(buffer.count, request.message.count - messageTaken)
        request.message.withUnsafeBytes {
            buffer.copyMemory(
                from: UnsafeRawBufferPointer(rebasing: $0[messageTaken..<messageTaken + count])
            )
        }
        messageTaken += count
        return count
    }

    /// Opens the socket for an address libcurl is about to connect to, unless it is forbidden.
    fileprivate func open(_ wanted: UnsafeMutablePointer<curl_sockaddr>) -> Int32 {
        if case .post(isGuarded: true) = role {
            let address = withUnsafePointer(to: &wanted.pointee.addr) {
                SocketAddress($0, length: wanted.pointee.addrlen)
            }
            guard address.isPublic else {
                forbiddenAddress = address.description
                return -1
            }
        }
        let opened = socket(
            wanted.pointee.family,
            wanted.pointee.socktype | Int32(SOCK_CLOEXEC.rawValue),
            wanted.pointee.protocol
        )
        if opened >= 0 { pool.openSockets.insert(opened) }
        return opened
    }

    static func from(_ context: UnsafeMutableRawPointer?) -> CurlExchange? {
        context.map { Unmanaged<CurlExchange>.fromOpaque($0).takeUnretainedValue() }
    }
}

private func headerArrived(
    bytes: UnsafeMutablePointer<CChar>?,
    size: Int,
    count: Int,
    context: UnsafeMutableRawPointer?
) -> Int {
    CurlExchange.from(context)?.received(
        header: UnsafeRawBufferPointer(start: bytes, count: size * count)
    ) ?? 0
}

private func bodyArrived(
    bytes: UnsafeMutablePointer<CChar>?,
    size: Int,
    count: Int,
    context: UnsafeMutableRawPointer?
) -> Int {
    CurlExchange.from(context)?.received(
        body: UnsafeRawBufferPointer(start: bytes, count: size * count)
    ) ?? 0
}

private func messageWanted(
    bytes: UnsafeMutablePointer<CChar>?,
    size: Int,
    count: Int,
    context: UnsafeMutableRawPointer?
) -> Int {
    CurlExchange.from(context)?.takeMessage(
        into: UnsafeMutableRawBufferPointer(start: bytes, count: size * count)
    ) ?? 0
}

private func socketWanted(
    context: UnsafeMutableRawPointer?,
    purpose: curlsocktype,
    address: UnsafeMutablePointer<curl_sockaddr>?
) -> curl_socket_t {
    guard let address else { return -1 }
    return CurlExchange.from(context)?.open(address) ?? -1
}

private func socketDone(context: UnsafeMutableRawPointer?, socket: curl_socket_t) -> Int32 {
    CurlPool.from(context)?.openSockets.remove(socket)
    return close(socket)
}
