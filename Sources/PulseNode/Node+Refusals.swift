// Who is refused, and with what: decided here, for both protocols.

import PulseBroker
import PulseCore
import PulseGateway
import PulseLog

extension Node {
    /// What a request wants to change.
    enum Work {
        /// A notification or a template.
        case new
        /// Taking a notification back is an outcome: there is room for those on a full disk, until outcomes
        /// wait for room themselves.
        case cancellation
        /// A group takes a few bytes, and answers nothing before it is durable.
        case subscription
    }

    /// What keeps this node from a piece of work, or nil.
    ///
    ///                     draining    data_corrupt    disk_stalled    disk_full
    ///      new            refused     refused         refused         refused
    ///      cancellation   refused     refused         refused         taken
    ///      subscription   refused     refused         taken           taken
    func obstacle(to work: Work) -> ErrorCode? {
        switch (obstacle, work) {
        case (.diskFull, .cancellation): shard.isWaitingForRoom ? .diskFull : nil
        case (.diskFull, .subscription), (.diskStalled, .subscription): nil
        case (let obstacle, _): obstacle
        }
    }

    /// What keeps one request from being served, with nothing changed: no room for another segment,
    /// damage where it had to be looked up, or a repair that gave up what it is about.
    struct Refusal: Error {
        var code: ErrorCode
        /// What cannot be read: file, byte and positions.
        var detail: String?

        /// For the native protocol.
        var message: String { detail ?? code.title }

        func response(_ dialect: APIDialect) -> HTTPResponse {
            let seconds = code == .diskFull ? 5 : 1
            return .unavailable(
                code,
                detail: detail,
                retryAfterSeconds: code.isRetryable ? seconds : nil,
                dialect
            )
        }
    }

    /// A refusal of work with what this node knows of the reason.
    func refusal(_ obstacle: ErrorCode) -> Refusal {
        let damage = obstacle == .dataCorrupt ? shard.log.damaged.first : nil
        return Refusal(code: obstacle, detail: damage.map { "\($0)" })
    }

    /// Asks something of the shard. Only what it cannot go on after is thrown.
    func unlessRefused<T>(
        _ ask: () throws(ShardError) -> T
    ) throws(ShardError) -> Result<T, Refusal> {
        do throws(ShardError) {
            return .success(try ask())
        } catch {
            guard let code = error.refusal else { throw error }
            if code == .dataCorrupt { metrics.unreadable += 1 }
            return .failure(Refusal(code: code, detail: error.refusalDetail))
        }
    }

    /// An answer that is read from the log, or why it cannot be given.
    func response(
        _ dialect: APIDialect,
        _ make: () throws(ShardError) -> HTTPResponse
    ) throws(ShardError) -> HTTPResponse {
        switch try unlessRefused(make) {
        case .success(let response): response
        case .failure(let refusal): refusal.response(dialect)
        }
    }
}
