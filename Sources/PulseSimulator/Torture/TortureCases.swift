// Single cases that chance does not meet: content that imitates an entry, damage of which only the entries
// after it know, a store that belongs to another log.

import PulseBroker
import PulseCore
import PulseLog

package struct TortureCases {
    package var seed: UInt64 = 1

    private static let rounds: UInt64 = 8
    private static let fillerBytes = 1200

    package init() {}

    package func run() -> TortureResult {
        var result = TortureResult("Directed cases")
        for round in 0..<Self.rounds {
            let one = Case(seed: seed + round)
            do throws(ShardError) {
                try one.forgedHeader(&result)
                try one.damagedMiddle(&result)
                try one.foreignStore(&result)
                try TortureRoom(seed: seed + round).run(&result)
            } catch { result.violate("seed \(seed + round), a healthy disk: \(error)") }
        }
        return result
    }

    private struct Case {
        let seed: UInt64

        /// A sentence that is not synced, whose first sector is torn and whose text holds the header
        /// of an entry, right in everything but the log's own seed: it must not vouch for anything.
        func forgedHeader(_ result: inout TortureResult) throws(ShardError) {
            result.count("headers forged in content")
            let life = try Life(seed: seed)
            let filler = [UInt8](repeating: 0x2a, count: TortureCases.fillerBytes)
            let start = life.end
            try life.submit(filler, 1)
            try life.commit()
            guard let first = life.place(of: filler) else {
                return result.violate("seed \(seed): the content is not in the log")
            }
            // As long as the first one: its content begins as far behind its entry's beginning.
            let next = life.end
            let target = next + UInt64(first) - start
            let pad = Int((8 - target % 8) % 8)
            var content = filler
            let header = Self.header(at: target + UInt64(pad))
            content.replaceSubrange(pad..<pad + header.count, with: header)
            try life.submit(content, 2)
            _ = try life.shard.flush(at: life.now)
            let torn = life.disk.copy()
            guard let file = torn.fileNames.first(where: { $0.hasSuffix(".seg") }),
                torn.bytes(of: file).map({ Self.holds($0, header, Int(target) + pad) }) == true
            else {
                return result.violate("seed \(seed): the header is not where it was meant to be")
            }
            torn.suffer(.flipBit(file: file, byte: Int(next) + 20, bit: 1))
            life.check(torn, after: "a torn end with a forged header", isDamaged: false, &result)
        }

        /// A bit in an acknowledged entry, and a floor that is older: the entries after it say that it
        /// was durable.
        func damagedMiddle(_ result: inout TortureResult) throws(ShardError) {
            result.count("acknowledged middles damaged")
            let life = try Life(seed: seed)
            var starts: [UInt64] = []
            for number in 1...6 {
                starts.append(life.end)
                try life.submit(Array("message \(number)".utf8), number)
                try life.commit()
            }
            for start in starts.dropLast(2) {
                let damaged = life.disk.copy()
                guard let file = damaged.fileNames.first(where: { $0.hasSuffix(".seg") }) else {
                    continue
                }
                damaged.suffer(.flipBit(file: file, byte: Int(start) + 70, bit: 3))
                life.check(damaged, after: "damage at \(start)", isDamaged: true, &result)
            }
        }

        /// A good store under the log of another node.
        func foreignStore(_ result: inout TortureResult) throws(ShardError) {
            result.count("stores of another log")
            let life = try Life(seed: seed)
            let other = try Life(seed: seed + 1000)
            for number in 1...3 {
                for life in [life, other] {
                    try life.submit(Array("message \(number)".utf8), number)
                    try life.commit()
                }
            }
            try other.shard.close()
            do throws(ShardError) {
                _ = try life.open(life.disk.copy(), other.store.copy())
                result.violate("seed \(seed): the store of another log was taken")
            } catch {
                guard case .foreignStore = error else {
                    return result.violate("seed \(seed), the store of another log: \(error)")
                }
            }
        }

        private static func holds(_ bytes: [UInt8], _ part: [UInt8], _ at: Int) -> Bool {
            at + part.count <= bytes.count && bytes[at..<at + part.count].elementsEqual(part)
        }

        /// An empty entry as spec/03-storage.md has it, but for the seed.
        private static func header(at position: UInt64) -> [UInt8] {
            var bytes: [UInt8] = []
            bytes.append(littleEndian: UInt32(0x4553_4C50))
            bytes.append(littleEndian: UInt32(0))
            bytes.append(littleEndian: position)
            bytes.append(littleEndian: position)
            bytes.append(contentsOf: [UInt8](repeating: 0, count: 34))
            bytes.append(contentsOf: [EntryKind.command.rawValue, 0])
            let checksum = bytes.withUnsafeBytes { CRC32C.of($0) }
            bytes.append(littleEndian: checksum)
            return bytes
        }
    }

    /// A shard that is told what to do, message by message.
    final class Life {
        let disk = SimulatedDisk()
        let store = SimulatedStore()
        let shard: Shard
        let now: Now
        let configuration: ShardConfiguration

        init(seed: UInt64) throws(ShardError) {
            let bench = TortureBench(seed: seed)
            configuration = bench.configuration
            now = bench.now
            shard = try TortureBench.open(disk, store, configuration, seed: seed, at: now)
        }

        var end: UInt64 { shard.log.appendPosition.rawValue }

        func open(_ disk: SimulatedDisk, _ store: SimulatedStore) throws(ShardError) -> Shard {
            try TortureBench.open(disk, store, configuration, seed: 1, at: now)
        }

        @discardableResult
        func submit(_ text: [UInt8], _ number: Int) throws(ShardError) -> NotificationID {
            let user = Array("somebody".utf8)
            let key = Array("key-\(number)".utf8)
            let now = self.now
            let result = user.withUnsafeBytes { user in
                text.withUnsafeBytes { envelope in
                    key.withUnsafeBytes { key -> Result<SubmitOutcome, ShardError> in
                        do throws(ShardError) {
                            let notification = NewNotification(
                                channel: .email,
                                lane: .normal,
                                user: user,
                                envelope: envelope,
                                idempotencyKey: key
                            )
                            return .success(try shard.submit(notification, at: now))
                        } catch { return .failure(error) }
                    }
                }
            }
            return try result.get().id
        }

        func commit() throws(ShardError) {
            guard let ticket = try shard.flush(at: now) else { return }
            do throws(StorageError) { try shard.log.performSync() } catch { throw .storage(error) }
            try shard.synced(ticket, at: now)
        }

        /// Where these bytes are in the first segment.
        func place(of part: [UInt8]) -> Int? {
            guard let name = disk.fileNames.first(where: { $0.hasSuffix(".seg") }),
                let bytes = disk.bytes(of: name), bytes.count >= part.count
            else { return nil }
            return (0...bytes.count - part.count).first {
                bytes[$0] == part[0] && bytes[$0..<$0 + part.count].elementsEqual(part)
            }
        }

        func check(
            _ disk: SimulatedDisk,
            after what: String,
            isDamaged: Bool,
            _ result: inout TortureResult
        ) {
            var found = true
            do throws(ShardError) {
                // Rows would know more than the entries: they are left out.
                found = try !open(disk, SimulatedStore()).recovery.damaged.isEmpty
            } catch {
                if !isDamaged { result.violate("\(what): cannot be opened: \(error)") }
            }
            if found != isDamaged {
                result.violate("\(what) is \(found ? "taken for damage" : "cut off in silence")")
            }
        }
    }
}
