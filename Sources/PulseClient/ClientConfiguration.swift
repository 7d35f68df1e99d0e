// What a client may be told about itself; every value has a default that works.

internal import PulseCore

public struct ClientConfiguration: Hashable, Sendable {
    /// What the server writes into its log and its list of connections.
    public var name = "pulse-swift"
    /// How long one attempt to connect, handshake included, may take.
    public var connectTimeout: Duration = .seconds(5)
    /// How long a call waits for its answer, over reconnects.
    public var requestTimeout: Duration = .seconds(30)
    /// The pause before the first reconnect; it doubles, with jitter, up to the maximum.
    public var backoffMinimum: Duration = .milliseconds(50)
    public var backoffMaximum: Duration = .seconds(5)
    /// Silence after which the server is asked whether it lives; twice that long means it does not.
    public var keepAlive: Duration = .seconds(10)
    /// Notifications waiting or unanswered at one time, before ``Producer/send(_:)`` refuses.
    public var queuedMax = 100_000
    /// Full batches of one topic and lane under way at one time.
    public var batchesInFlightMax = 32

    /// Whether batches of 4 KiB and more are sent compressed (LZ4), where that saves an eighth.
    public var compression = true

    public init() {}
}

extension Duration {
    /// Whole milliseconds, never negative.
    var milliseconds: Int64 {
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1000)
        return overflow ? .max / 2_000_000 : max(0, product + attoseconds / 1_000_000_000_000_000)
    }
}
