// Rows of the state store with any bytes: read one by one, and under a shard that opens.

import PulseBroker
package import PulseCore
import PulseLog
import TestDoubles

extension FuzzTarget {
    /// - A row is refused, or written again byte for byte.
    /// - A store of such rows under a good log is refused with an error, or is served: all that a node asks
    ///   of a shard is answered or refused with an error. What a checkpoint says is not touched; the
    ///   target `state` has it.
    static let rows = FuzzTarget(
        name: "rows",
        inputBytesMax: 1024,
        check: { bytes in
            var draw = Draw(bytes)
            let golden = try GoldenShard.shared.get()
            var edits = RowEdits(golden.rows)
            while !draw.isAtEnd, edits.changed.count < 16 { edits.apply(&draw) }
            for row in edits.changed {
                guard let read = StoredRow(row) else { continue }
                try require(read.row == row, "a row that is read is the one written")
            }
            let driver: ShardDriver
            do {
                driver = try golden.driver(edits.rows)
            } catch is ShardError { return }
            try inspect(driver)
            do {
                try ask(driver, golden.ids)
                try work(driver)
                _ = try driver.shard.close()
            } catch is ShardError {} catch is LogError {} catch is StorageError {}
        },
        seeds: {
            var seeds = try SeedStory.rows().map { RowEdits.script(putting: $0) }
            let golden = try GoldenShard.shared.get()
            for kind in StoredRow.Kind.allCases {
                for row in golden.rows.filter({ StoredRow($0)?.kind == kind }).prefix(2) {
                    seeds.append(RowEdits.script(putting: row))
                }
            }
            // One for each operation.
            for operation: UInt8 in 1..<7 {
                for row: UInt8 in [1, 9, 40, 90] { seeds.append([operation, row, 9, 0, 3, 0, 1]) }
            }
            return seeds
        }
    )

    /// Rows that a story put into its store.
    package static func seedRows() throws -> [StateRow] { try SeedStory.rows() }

    private static func inspect(_ driver: ShardDriver) throws {
        guard let log = try? LogReader(driver.directory) else { return }
        _ = try? ShardInspection.look(at: log, driver.store, verify: false)
    }

    /// Every question, each on its own.
    private static func ask(_ driver: ShardDriver, _ ids: [NotificationID]) throws {
        let shard = driver.shard
        for id in ids { _ = try? shard.story(of: id, withSteps: true) }
        for user in [nil, "later", "bob"] {
            _ = try? Array((user ?? "").utf8).withUnsafeBytes { bytes in
                try shard.walkNewestFirst(
                    channel: nil,
                    user: user == nil ? nil : bytes,
                    olderThan: nil,
                    examineMax: 40
                ) { _ in true }
            }
        }
        for (stream, _) in shard.state.streams {
            for record in (try? shard.browse(stream, from: Offset(0), count: 10)) ?? [] {
                _ = shard.id(record.stream, record.origin)
            }
        }
        _ = try? shard.diskUse(at: driver.now)
        for channel in Channel.allCases { _ = shard.balance(of: channel) }
        for key in ["first", "later", "key-7", "new"] {
            _ = try? driver.submit("bob", key: key)
        }
    }

    /// Delivery, a subscriber and retention, until everything was due.
    private static func work(_ driver: ShardDriver) throws {
        let shard = driver.shard
        let subscription = SubscriptionID(connection: ConnectionID(1), number: 1)
        _ = try shard.subscribe(
            subscription,
            topic: Channel.email.topic,
            group: "audit",
            fromEnd: false,
            credit: 20,
            leaseMilliseconds: 30_000,
            lanes: 0xF,
            at: driver.now
        )
        for minutes: Int64 in [0, 5, 2000, 600_000] {
            driver.pass(minutes: minutes)
            try driver.deliver { lease in
                _ = shard.id(lease.message.stream, lease.message.offset)
                return switch lease.id % 3 {
                case 0: .dead(.payloadBad, code: 1, detail: "")
                case 1: .retry(afterMilliseconds: nil, reason: .backoff, code: 2, detail: "")
                default: ShardDriver.ok(lease)
                }
            }
            for handout in try shard.deal(at: driver.now) {
                try shard.settle(handout.lease.id, ShardDriver.ok(handout.lease), at: driver.now)
            }
            try driver.turn()
            try driver.scrub()
        }
    }
}

/// Rows after a list of edits.
struct RowEdits {
    private(set) var rows: [StateRow]
    /// What was put or altered.
    private(set) var changed: [StateRow] = []

    init(_ rows: [StateRow]) { self.rows = rows }

    /// Whose log it is and the hot state stay.
    private static let untouched = [Array("identity".utf8), Array("checkpoint".utf8)]

    static func script(putting row: StateRow) -> [UInt8] {
        var script = Script()
        script.add(0, bytes: 1)
        script.add(field: row.key)
        script.add(field: row.value)
        return script.bytes
    }

    /// 0 key, value: a row is put. Else the number of a row, then: 1 value: it gets another; 2 place, bits:
    /// its key is another; 3 place, bits: its value is; 4 length: it is cut; 5 it goes; 6 another row's
    /// value is put under its key.
    mutating func apply(_ draw: inout Draw) {
        let operation = draw.byte() % 7
        guard operation > 0 else {
            return put(StateRow(key: draw.field(), value: draw.field()))
        }
        guard !rows.isEmpty else { return }
        let index = draw.below(rows.count)
        var row = rows[index]
        guard !Self.untouched.contains(row.key) else { return }
        switch operation {
        case 1: row.value = draw.field()
        case 2:
            rows.remove(at: index)
            Self.change(&row.key, &draw)
        case 3: Self.change(&row.value, &draw)
        case 4: row.value = Array(row.value.prefix(Int(draw.number(bytes: 2))))
        case 5:
            rows.remove(at: index)
            return
        default: row.value = rows[draw.below(rows.count)].value
        }
        put(row)
    }

    private mutating func put(_ row: StateRow) {
        guard !Self.untouched.contains(row.key), !row.key.isEmpty else { return }
        changed.append(row)
        if let index = rows.firstIndex(where: { $0.key == row.key }) {
            rows[index] = row
        } else {
            rows.append(row)
        }
    }

    private static func change(_ bytes: inout [UInt8], _ draw: inout Draw) {
        guard !bytes.isEmpty else { return }
        bytes[Int(draw.number(bytes: 2)) % bytes.count] ^= draw.byte()
    }
}
