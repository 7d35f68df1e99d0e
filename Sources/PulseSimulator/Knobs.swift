// The dials of one world, drawn from its seed before anything happens and printed with every
// failure.

import PulseBroker
package import PulseCore
import PulseDelivery
import PulseLog
package import PulseNode

/// Everything that shapes a run besides its faults.
///
/// Small sizes on purpose: what is rare in production (a roll, a checkpoint, a wheel that does not
/// hold every row) happens in every run.
package struct Knobs: Sendable, CustomStringConvertible {
    package var submissions: Int
    /// Milliseconds over which clients begin their submissions.
    package var workloadMilliseconds: Int64
    package var httpProducers: Int
    package var nativeProducers: Int
    package var consumers: Int
    package var partitions: Int
    package var segmentBytes: Int
    package var checkpointBytes: Int
    package var heldInMemoryMax: Int
    package var concurrency: [Int]
    package var retryBaseMilliseconds: Int64
    package var attemptsMax: Int
    /// Microseconds of a sync: the least, and the most it takes longer than that.
    package var syncMicroseconds: (least: Int, spread: Int)
    /// Microseconds on the way between a client and the node.
    package var networkMicroseconds: (least: Int, spread: Int)
    /// Parts of a thousand: a provider's answers that are not "accepted".
    package var providerTroublePerThousand: Int
    package var providerTimeoutMilliseconds: Int64 = 1500
    package var pauseMilliseconds: Int64 = 2000
    /// How long a turn gathers inputs before it ends, at most, in microseconds.
    package var turnMicroseconds: Int
    /// Parts of a thousand of answers after which a client takes a notification back.
    package var cancelPerThousand = 0
    /// How little is kept; nil to keep everything for longer than the world lasts.
    package var retention: RetentionDial?

    package init(_ random: inout SeededGenerator) {
        func choose<Value>(_ values: [Value]) -> Value { values[random.below(values.count)] }
        submissions = 150 + random.below(200)
        workloadMilliseconds = Int64(4000 + random.below(16_000))
        httpProducers = 1 + random.below(3)
        nativeProducers = 1 + random.below(2)
        consumers = random.below(4)
        partitions = choose([1, 1, 2, 4])
        segmentBytes = choose([32 << 10, 64 << 10, 64 << 10])
        checkpointBytes = choose([4 << 10, 16 << 10, 64 << 10])
        heldInMemoryMax = choose([4, 16, 16, 64])
        concurrency = choose([[8, 8, 4, 4], [64, 64, 32, 32], [16, 4, 64, 2]])
        retryBaseMilliseconds = choose([100, 300, 1000])
        attemptsMax = choose([3, 4, 6])
        syncMicroseconds = choose([(80, 200), (100, 2000), (500, 20_000), (2000, 100_000)])
        networkMicroseconds = choose([(50, 200), (200, 5000), (1000, 50_000)])
        providerTroublePerThousand = choose([0, 100, 250, 400])
        turnMicroseconds = choose([1, 50, 500])
    }

    /// Not drawn but derived, so that nothing else is drawn differently.
    var mergeFanOut: Int { submissions % 3 == 0 ? 3 : 2 }

    /// Milliseconds of the longest wait after a failed attempt.
    package var backoffCapMilliseconds: Int64 { 5000 }
    package var backoffLeastMilliseconds: Int64 { retryBaseMilliseconds / 10 }

    package var rules: WitnessRules {
        var rules = WitnessRules()
        rules.attemptsMax = attemptsMax
        rules.backoffLeastMilliseconds = backoffLeastMilliseconds
        rules.backoffCapMilliseconds = backoffCapMilliseconds
        rules.pauseMilliseconds = pauseMilliseconds
        rules.retention = retention
        return rules
    }

    package var node: NodeConfiguration {
        let endpoint = SMTPEndpoint(host: "mail.example.org", port: 25, security: .none)
        guard let sender = Mailbox("Pulse <pulse@example.org>") else {
            preconditionFailure("the simulator's sender is a mailbox")
        }
        var node = NodeConfiguration(
            shard: ShardConfiguration(
                log: LogConfiguration(segmentBytes: segmentBytes, mergeFanOut: mergeFanOut),
                retry: RetryPolicy(
                    baseMs: retryBaseMilliseconds,
                    factor: 2,
                    capMs: backoffCapMilliseconds,
                    attemptsMax: attemptsMax
                ),
                partitions: partitions,
                checkpointBytes: checkpointBytes,
                heldInMemoryMax: heldInMemoryMax
            ),
            providers: ProviderSettings(
                email: .smtp(
                    endpoint,
                    from: sender,
                    timeoutMilliseconds: providerTimeoutMilliseconds
                ),
                webhook: .http(
                    allowsPrivateAddresses: false,
                    timeoutMilliseconds: providerTimeoutMilliseconds
                ),
                sms: .catcher,
                push: .catcher
            ),
            concurrency: concurrency,
            development: true,
            version: "simulated",
            drainMilliseconds: 3000,
            pauseMilliseconds: pauseMilliseconds
        )
        if let retention {
            node.shard.retention.bytes = retention.bytes
            // No start is so short that it counts as age: the clock may be set while nothing runs.
            node.shard.clockGapMilliseconds = 0
            if let age = retention.ageMilliseconds {
                node.shard.idempotencyWindowMilliseconds = retention.keyMilliseconds
                node.shard.retentionMilliseconds = age
            }
        }
        return node
    }

    package var description: String {
        """
        submissions=\(submissions) over=\(workloadMilliseconds)ms http=\(httpProducers) \
        native=\(nativeProducers) consumers=\(consumers) partitions=\(partitions) \
        segment=\(segmentBytes) checkpoint=\(checkpointBytes) held=\(heldInMemoryMax) \
        concurrency=\(concurrency) backoff=\(retryBaseMilliseconds)ms attempts=\(attemptsMax) \
        sync=\(syncMicroseconds.least)+\(syncMicroseconds.spread)us \
        net=\(networkMicroseconds.least)+\(networkMicroseconds.spread)us \
        trouble=\(providerTroublePerThousand) turn=\(turnMicroseconds)us \
        cancel=\(cancelPerThousand) retention=\(retention.map { "\($0)" } ?? "all")
        """
    }
}

/// How little a world keeps: the age is shorter than the world, the size a few segments.
package struct RetentionDial: Hashable, Sendable, CustomStringConvertible {
    /// nil: by size alone.
    package var ageMilliseconds: Int64?
    /// How long an idempotency key is remembered, where there is an age.
    package var keyMilliseconds: Int64
    /// 0: by age alone.
    package var bytes: Int64

    package init(ageMilliseconds: Int64?, keyMilliseconds: Int64, bytes: Int64) {
        self.ageMilliseconds = ageMilliseconds
        self.keyMilliseconds = keyMilliseconds
        self.bytes = bytes
    }

    init(_ random: inout SeededGenerator, segmentBytes: Int) {
        let way = random.below(3)
        let key = Int64(1500 + random.below(4000))
        let more = Int64(random.below(3000))
        let segments = Int64(2 + random.below(4))
        keyMilliseconds = key
        ageMilliseconds = way == 0 ? nil : key + more
        bytes = way == 1 ? 0 : segments * Int64(segmentBytes)
    }

    package var description: String {
        "age \(ageMilliseconds.map { "\($0)ms" } ?? "none"), key \(keyMilliseconds)ms, \(bytes) bytes"
    }
}
