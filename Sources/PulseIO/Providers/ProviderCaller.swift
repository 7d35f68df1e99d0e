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
    private var pools: Pools?
    /// Answers known without asking anybody; told in the next turn like all others.
    private var objections: [(CallID, ProviderAnswer)] = []

    private struct Pools {
        var plainMail: CurlPool
        var secureMail: CurlPool
        var open: CurlPool
        var guarded: CurlPool
    }

    /// - Parameter deliver: Called in a turn of the loop; it may start further calls.
    package init(
        loop: EventLoop,
        options: Options = Options(),
        deliver: @escaping Deliver
    ) throws(IOFailure) {
        self.loop = loop
        self.options = options
        self.deliver = deliver
        pools = Pools(
            plainMail: try pool { $0.mailAnswer($1) },
            secureMail: try pool { $0.mailAnswer($1) },
            open: try pool { $0.postAnswer($1) },
            guarded: try pool { $0.postAnswer($1) }
        )
    }

    /// Starts a call; its answer comes in a later turn, exactly once.
    package func start(_ call: CallID, _ request: ProviderRequest) {
        guard let pools else { return }
        callsInFlight += 1
        switch request {
        case .smtp(let mail):
            let pool = mail.endpoint.security == .none ? pools.plainMail : pools.secureMail
            if let objection = CurlExchange.objection(to: mail) {
                answer(call, objection)
            } else if let exchange = exchange(.mail, in: pool, for: call) {
                exchange.prepare(call, mail: mail, at: loop.now.monotonic)
                pool.start(exchange)
            }
        case .http(let post):
            let isGuarded = !post.allowsPrivateAddresses
            let pool = isGuarded ? pools.guarded : pools.open
            if let objection = CurlExchange.objection(to: post) {
                answer(call, objection)
            } else if let exchange = exchange(
                .post(isGuarded: isGuarded),
                in: pool,
                for: call
            ) {
                exchange.prepare(call, post: post)
                pool.start(exchange)
            }
        }
    }

    /// Abandons the calls in flight, unanswered, and closes all connections.
    package func close() {
        pools?.plainMail.close()
        pools?.secureMail.close()
        pools?.open.close()
        pools?.guarded.close()
        pools = nil
        objections = []
        callsInFlight = 0
    }

    package func ready(_ readiness: Readiness, descriptor: Int32) {
        let told = objections
        objections = []
        for (call, answer) in told { finish(call, answer) }
    }

    private func pool(
        _ answer: @escaping (CurlExchange, CURLcode) -> ProviderAnswer
    ) throws(IOFailure) -> CurlPool {
        try CurlPool(loop: loop, connectionsPerHost: options.connectionsPerHost) {
            [unowned self] exchange, exit in
            finish(exchange.call, answer(exchange, exit))
        }
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
        guard pools != nil else { return }
        callsInFlight -= 1
        deliver(call, answer)
    }
}
