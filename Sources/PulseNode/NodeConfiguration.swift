// What a node is told when it starts.

package import PulseBroker
package import PulseDelivery

package struct NodeConfiguration: Sendable {
    package var shard: ShardConfiguration
    package var providers: ProviderSettings
    /// Deliveries under way at once, by channel: email, webhook, sms, push.
    package var concurrency: [Int]
    /// Shows the catcher's outbox and loads the sample template.
    package var development: Bool
    package var version: String
    /// How long a drain waits for deliveries under way.
    package var drainMilliseconds: Int64
    /// How long a channel rests after its provider said that it is configured wrongly.
    package var pauseMilliseconds: Int64

    package init(
        shard: ShardConfiguration,
        providers: ProviderSettings,
        concurrency: [Int] = [64, 256, 1024, 1024],
        development: Bool = false,
        version: String = "0.1.0",
        drainMilliseconds: Int64 = 10_000,
        pauseMilliseconds: Int64 = 30_000
    ) {
        self.shard = shard
        self.providers = providers
        self.concurrency = concurrency
        self.development = development
        self.version = version
        self.drainMilliseconds = drainMilliseconds
        self.pauseMilliseconds = pauseMilliseconds
    }
}
