// Writes a golden data directory: a shard on a real disk and a real store, driven through everything that
// leaves a trace in the files. Used by Scripts/golden.sh at release time; the tests only read what it left.

import Glibc
import PulseBroker
import PulseCore
import PulseIO
import PulseLog
import PulseServer
import Testing

/// How the process that wrote the directory ends.
enum GoldenEnding: String {
    /// Everything is saved, and the log goes back to position 0.
    case clean
    /// The oldest segments are released, and a power cut tears the last turn.
    case killed
}

final class GoldenStory {
    private let path: String
    private let data: DataDirectory
    private let ending: GoldenEnding
    private var shard: Shard
    private var random: SeededGenerator
    /// Attempts that take long.
    private var unsettled: [UInt64] = []
    private var now = Now(
        monotonic: MonotonicInstant(nanoseconds: 5_000_000_000),
        wall: WallTimestamp(milliseconds: 1_795_000_000_000)
    )

    static let configuration = ShardConfiguration(
        log: LogConfiguration(segmentBytes: 64 << 10),
        retry: RetryPolicy(attemptsMax: 4),
        partitions: 2,
        checkpointBytes: 48 << 10,
        idempotencyWindowMilliseconds: 600_000,
        retentionMilliseconds: 600_000
    )

    init(_ ending: GoldenEnding, at path: String) throws {
        self.path = path
        self.ending = ending
        data = try DataDirectory(path: path)
        random = SeededGenerator(seed: ending == .clean ? 1 : 2)
        shard = try Shard.open(
            directory: data.log,
            store: data.store,
            configuration: Self.configuration,
            seed: random.next(),
            at: now
        )
    }

    /// Tells the story; returns the state at its end, as a checkpoint would save it.
    func tell() throws -> [UInt8] {
        _ = try shard.subscribe(
            SubscriptionID(connection: ConnectionID(1), number: 1),
            topic: Channel.email.topic,
            group: "audit",
            fromEnd: false,
            credit: 100_000,
            leaseMilliseconds: 5_000,
            lanes: 0xF,
            at: now
        )
        try turn()
        for round in 0..<40 {
            try saveTemplate(round)
            for _ in 0..<12 { try submit(round) }
            try turn()
            for channel in Channel.allCases { try settle(channel) }
            try consume()
            pass(milliseconds: 700)
            if round == 20, ending == .killed {
                try rest()
                pass(milliseconds: 1_200_000)
                // Rows first, then the segments' release, then, once a checkpoint has it, their files.
                for _ in 0..<20 {
                    try shard.releaseOldSegments(at: now)
                    try turn()
                    pass(milliseconds: 1000)
                }
                #expect(shard.log.firstPosition.rawValue >= 64 << 10)
            }
        }
        // Attempts whose outcome nobody will learn.
        try shard.reachedTime(now)
        try shard.dispatch(.email, slots: 3, at: now)
        try turn()
        let state = shard.state.encoded()
        switch ending {
        case .clean:
            try shard.close()
            data.close()
        case .killed:
            for _ in 0..<3 { try submit(99) }
            _ = try shard.flush(at: now)
        }
        return state
    }

    /// Where a power cut may tear: the last durable position, in its segment's file.
    var torn: (file: String, byte: Int) {
        let name = "\(path)/shard-0/log/\(shard.log.segments.last?.name ?? "")"
        return (name, Int(shard.log.durablePosition.rawValue % UInt64(shard.log.segmentBytes)))
    }

    // MARK: - Steps

    private func pass(milliseconds: Int64) {
        now.monotonic = now.monotonic.advanced(byMilliseconds: milliseconds)
        now.wall = now.wall.advanced(byMilliseconds: milliseconds)
    }

    private func turn() throws {
        if let ticket = try shard.flush(at: now) {
            try shard.log.performSync()
            try shard.synced(ticket, at: now)
        }
        for job in shard.takeLogJobs() {
            try job.perform(in: data.log)
            try shard.jobFinished(job, failure: nil)
        }
        if shard.wantsStoreFlush {
            shard.wantsStoreFlush = false
            try data.store.flush()
            shard.storeFlushed()
        }
    }

    /// Lets everything that can end come to its end.
    private func rest() throws {
        for lease in unsettled {
            try shard.settle(lease, .delivered(code: 250, detail: "at last"), at: now)
        }
        unsettled = []
        for _ in 0..<60 {
            for channel in Channel.allCases { try settle(channel, always: true) }
            try consume(always: true)
            pass(milliseconds: 2_000)
        }
    }

    private func saveTemplate(_ round: Int) throws {
        guard round % 8 == 0 else { return }
        _ = try shard.put(
            TemplateRow(
                name: "welcome-\(round % 3)",
                channel: .email,
                subject: "Round {{round}}",
                text: "Grüße aus Runde \(round), {{name}}",
                html: round % 16 == 0 ? "<p>{{name}}</p>" : "",
                savedAt: now.wall
            ),
            at: now
        )
    }

    private func submit(_ round: Int) throws {
        let user = "user-\(random.below(40))"
        var writer = EnvelopeWriter()
        writer.append(.user, user)
        writer.append(.address, "\(user)@example.org")
        writer.append(.text, String(repeating: "\(random.next()) ", count: 1 + random.below(30)))
        let key = random.chance(perThousand: 700) ? "k-\(round)-\(random.below(1000))" : nil
        if let key { writer.append(.idempotencyKey, key) }
        if random.chance(perThousand: 150) {
            let wait = 500 + Int64(random.below(20_000))
            writer.append(deliverAt: now.wall.advanced(byMilliseconds: wait))
        }
        let channel = Channel.allCases[random.below(Channel.allCases.count)]
        let lane: Lane = [.critical, .high, .normal, .bulk][random.below(4)]
        let keyBytes = Array((key ?? "").utf8)
        _ = try Array(user.utf8).withUnsafeBytes { user in
            try writer.bytes.withUnsafeBytes { envelope in
                try keyBytes.withUnsafeBytes { keyBytes in
                    try shard.submit(
                        NewNotification(
                            channel: channel,
                            lane: lane,
                            user: user,
                            envelope: envelope,
                            idempotencyKey: key == nil ? nil : keyBytes
                        ),
                        at: now
                    )
                }
            }
        }
    }

    private func settle(_ channel: Channel, always: Bool = false) throws {
        try shard.reachedTime(now)
        try shard.dispatch(channel, slots: 16, at: now)
        try turn()
        for lease in shard.takeOpened() {
            switch random.below(10) {
            case 0 where !always: unsettled.append(lease.id)
            case 1, 2:
                try shard.settle(
                    lease.id,
                    .retry(afterMilliseconds: nil, reason: .backoff, code: 451, detail: "später"),
                    at: now
                )
            case 3:
                try shard.settle(
                    lease.id,
                    .dead(.recipientDead, code: 550, detail: "no such mailbox"),
                    at: now
                )
            default:
                try shard.settle(lease.id, .delivered(code: 250, detail: "2.0.0 taken"), at: now)
            }
        }
        try turn()
    }

    private func consume(always: Bool = false) throws {
        let handouts = try shard.deal(at: now)
        try turn()
        for handout in handouts where always || random.chance(perThousand: 800) {
            try shard.settle(handout.lease.id, .delivered(code: 0, detail: ""), at: now)
        }
        try turn()
    }
}
