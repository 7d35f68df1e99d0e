// Calls to mail servers and web services, many at once, in the loop of the broker.

import CCurl
package import PulseCore
package import PulseDelivery

/// Performs `ProviderRequest`s and tells their `ProviderAnswer`s, each in a later turn of the loop.
///
/// Four pools, because connections are shared inside a pool. Mail is apart so that an idle mail
/// connection is never closed to make room for a web service's. Mail with TLS is apart from mail
/// without: libcurl does not compare that, and would send what must be encrypted over a plain
/// connection to the same server. And a connection made when private addresses were allowed must not
/// serve a call for which they are not.
package final class ProviderCaller: EventHandler {
    package struct Options: Sendable {
        /// Connections to one host and port at a time; more calls wait for one, inside their timeout.
        package var connectionsPerHost = 32
        /// Connections to all web services together that are open at a time, idle ones included.
        package var connectionsKept = 256
        /// A file with the certificates of trusted authorities, instead of the system's.
        package var authorities: String?

        package init() {}
    }

    package typealias Deliver = (CallID, ProviderAnswer) -> Void

    /// Calls started and not answered.
    package private(set) var callsInFlight = 0

    private let loop: EventLoop
    private let options: Options
    private let deliver: Deliver
    /// Made when they are needed first: each has descriptors of its own, and most callers use one.
    private var pools: [Kind: CurlPool] = [:]
    private var isClosed = false
    /// Answers known without asking anybody; told in the next turn like all others.
    private var objections: [(CallID, ProviderAnswer)] = []

    private enum Kind: CaseIterable {
        case plainMail
        case secureMail
        case open
        case guarded
    }

    /// - Parameter deliver: Called in a turn of the loop; it may start further calls.
    package init(
        loop: EventLoop,
        options: Options = Options(),
        deliver: @escaping Deliver
    ) {
        self.loop = loop
        self.options = options
        self.deliver = deliver
    }

    /// Starts a call; its answer comes in a later turn, exactly once.
    package func start(_ call: CallID, _ request: ProviderRequest) {
        guard !isClosed else { return }
        callsInFlight += 1
        do throws(IOFailure) {
            switch request {
            case .smtp(let mail):
                if let objection = CurlExchange.objection(to: mail) {
                    return answer(call, objection)
                }
                let pool = try pool(mail.endpoint.security == .none ? .plainMail : .secureMail)
                guard let exchange = exchange(.mail, in: pool, for: call) else { return }
                exchange.prepare(call, mail: mail, at: loop.now.monotonic)
                pool.start(exchange)
            case .http(let post):
                if let objection = CurlExchange.objection(to: post) {
                    return answer(call, objection)
                }
                let isGuarded = !post.allowsPrivateAddresses
                let pool = try pool(isGuarded ? .guarded : .open)
                guard let exchange = exchange(.post(isGuarded: isGuarded), in: pool, for: call)
                else { return }
                exchange.prepare(call, post: post)
                pool.start(exchange)
            }
        } catch { answer(call, .notSent(reason: "\(error)")) }
    }

    /// Abandons the calls in flight, unanswered, and closes all connections.
    package func close() {
        isClosed = true
        for kind in Kind.allCases { pools[kind]?.close() }
        pools = [:]
        objections = []
        callsInFlight = 0
    }

    package func ready(_ readiness: Readiness, descriptor: Int32) {
        let told = objections
        objections = []
        for (call, answer) in told { finish(call, answer) }
    }

    private func pool(_ kind: Kind) throws(IOFailure) -> CurlPool {
        if let pool = pools[kind] { return pool }
        // Closing an idle mail connection to make room would say QUIT and wait for the reply, so there
        // must always be room: more than all hosts together get.
        let isMail = kind == .plainMail || kind == .secureMail
        let pool = try CurlPool(
            loop: loop,
            connectionsPerHost: options.connectionsPerHost,
            connectionsKept: isMail ? 4096 : options.connectionsKept
        ) { [unowned self] exchange, exit in
            switch kind {
            case .plainMail, .secureMail: finish(exchange.call, exchange.mailAnswer(exit))
            case .open, .guarded: finish(exchange.call, exchange.postAnswer(exit))
            }
        }
        pools[kind] = pool
        return pool
    }

    private func exchange(
        _ role: CurlExchange.Role,
        in pool: CurlPool,
        for call: CallID
    ) -> CurlExchange? {
        if let exchange = pool.exchange(role, authorities: options.authorities) { return exchange }
        answer(call, .notSent(reason: "libcurl is out of memory"))
        return nil
    }

    private func answer(_ call: CallID, _ answer: ProviderAnswer) {
        if objections.isEmpty { loop.callNextTurn(self) }
        objections.append((call, answer))
    }

    private func finish(_ call: CallID, _ answer: ProviderAnswer) {
        guard !isClosed else { return }
        callsInFlight -= 1
        deliver(call, answer)
    }
}
