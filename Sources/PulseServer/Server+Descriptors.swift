// Who gets how many of the process's descriptors: the disk and the providers have theirs, connections the
// rest.

import PulseBroker
import PulseCore
import PulseDelivery
import PulseIO
import PulseLog
import PulseNode

extension Server {
    /// How many descriptors the process may have; the soft limit is raised to the hard one.
    static let descriptors = DescriptorLimit.raise()

    /// The state store's, the loop's, the log's directory, its spares and what is being merged.
    private static let descriptorsOfOurOwn = 192
    /// A segment's file and its index.
    private static let descriptorsPerSegment = 2
    /// A thread that mails: its mailbox, its loop, two of libcurl's, a connection, looking up a name.
    private static let descriptorsPerMailCall = 8
    /// A connection, and looking up a name.
    private static let descriptorsPerWebCall = 4

    static func refuseTooFewDescriptors() throws(ServerError) {
        guard let limit = descriptors, limit < Limits.descriptorsLeast else { return }
        throw ServerError(
            DescriptorRefusal(limit: limit),
            exitCode: 71
        )
    }

    private struct DescriptorRefusal: Error, CustomStringConvertible {
        var limit: Int
        var description: String {
            "the process may have \(limit) descriptors and needs \(Limits.descriptorsLeast) at least: "
                + "raise the limit (ulimit -n, LimitNOFILE=)"
        }
    }

    /// Connections taken at a time, over both ports: as many as were asked for, but never what the disk
    /// and the providers need. Where descriptors are few, they get half of them.
    var connectionsMax: Int {
        guard let limit = Self.descriptors else { return connectionsAllowed }
        return min(connectionsAllowed, max(limit / 2, limit - descriptorsBesidesConnections))
    }

    var connectionsAllowed: Int { min(configuration.httpConnectionsMax, Limits.connectionsMax) }

    /// More with every segment of the log.
    var descriptorsBesidesConnections: Int {
        let log = node.shard.log
        let segments = Int(clamping: log.activeNumber - log.firstNumber + 1)
        var count = Self.descriptorsOfOurOwn + Self.descriptorsPerSegment * segments
        if case .http = configuration.providers.webhook {
            count += Self.descriptorsPerWebCall * configuration.concurrency[.webhook]
        }
        if case .smtp = configuration.providers.email {
            count += Self.descriptorsPerMailCall * configuration.concurrency[.email]
        }
        return count
    }
}
