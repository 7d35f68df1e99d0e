// The state store on a disk with no room, on a real one: a small tmpfs. Mounting needs root, as CI has it.

import Glibc
import PulseCore
import PulseIO
import Testing

@Suite(.enabled(if: geteuid() == 0)) struct FullDiskTests {
    /// A tmpfs of its own, gone with this value.
    private final class SmallDisk {
        let scratch: ScratchDirectory
        let path: String

        init(megabytes: Int) throws {
            scratch = try ScratchDirectory()
            path = scratch.path + "/disk"
            mkdir(path, 0o700)
            let options = "size=\(megabytes)m"
            try #require(mount("none", path, "tmpfs", 0, options) == 0)
        }

        deinit { umount2(path, Int32(MNT_DETACH)) }

        /// Takes every byte there is, but for `left`.
        func fill(leaving left: Int64 = 0) {
            let file = open(path + "/filler", O_WRONLY | O_CREAT | O_APPEND, 0o600)
            defer { Glibc.close(file) }
            let block = [UInt8](repeating: 1, count: 64 << 10)
            while left == 0 || (DiskSpace(of: path)?.freeBytes ?? 0) > left,
                Glibc.write(file, block, block.count) > 0
            {}
        }

        func empty() { unlink(path + "/filler") }
    }

    private func row(_ number: Int) -> StateRow {
        StateRow(
            key: Array("row \(String(1_000_000 + number))".utf8),
            value: (0..<1000).map { UInt8(truncatingIfNeeded: $0 * number) }
        )
    }

    private func write(_ numbers: Range<Int>, to store: RocksStateStore) throws {
        for number in numbers {
            var batch = StateBatch()
            batch.put(row(number).key, row(number).value)
            if number % 3 == 0, number > 10 { batch.delete(row(number - 10).key) }
            try store.write(batch)
        }
    }

    private func expected(_ count: Int) -> [StateRow] {
        (0..<count).filter { number in
            let deletedBy = number + 10
            return !(deletedBy % 3 == 0 && deletedBy > 10 && deletedBy < count)
        }.map(row)
    }

    private func all(of store: RocksStateStore) throws -> [StateRow] {
        try store.scan(from: Array("row".utf8), below: Array("rox".utf8), limit: 1_000_000)
    }

    @Test func whatDoesNotFitWaitsIsReadAndGoesInWhenThereIsRoom() throws {
        let disk = try SmallDisk(megabytes: 48)
        let store = try RocksStateStore(path: disk.path + "/state")
        try write(0..<2000, to: store)
        try store.flush()
        disk.fill()
        // Five eighths of a write buffer of 8 MiB are taken without the disk; then rows wait.
        var count = 2000
        while store.waitingBytes < 2 << 20, count < 60_000 {
            try write(count..<count + 500, to: store)
            count += 500
        }
        #expect(store.waitingBytes >= 2 << 20, "the disk was never full")
        #expect(throws: StorageError(.storeFlush, file: store.path, reason: .noSpace)) {
            try store.flush()
        }
        let whole = expected(count)
        #expect(try all(of: store) == whole)
        #expect(try store.get(row(count - 1).key) == row(count - 1).value)
        let first = try store.scan(from: whole[4].key, below: [0xFF], limit: 7)
        #expect(first == Array(whole[4..<11]))

        disk.empty()
        var attempts = 0
        // Nobody writes any more, and still what waits goes in.
        while store.waitingBytes > 0, attempts < 600 {
            attempts += 1
            usleep(50_000)
            try? store.writeWaiting()
        }
        #expect(store.waitingBytes == 0, "the store did not go on when there was room")
        try store.flush()
        store.close()
        let again = try RocksStateStore(path: disk.path + "/state")
        #expect(try all(of: again) == whole)
    }

    /// A merge makes level 0 and level 1 anew, not the whole store: a disk with room for that is not full.
    @Test func aLargeStoreNeedsNoRoomForAllOfIt() throws {
        let disk = try SmallDisk(megabytes: 224)
        let store = try RocksStateStore(path: disk.path + "/state")
        // Each value has blocks of its own, and does not shrink.
        var generator = SeededGenerator(seed: 7)
        let value = (0..<8192).flatMap { _ in withUnsafeBytes(of: generator.next(), Array.init) }
        for number in 0..<96 {
            var batch = StateBatch()
            for part in 0..<16 {
                batch.put(Array("a\(1000 + number) \(10 + part)".utf8), value)
            }
            try store.write(batch)
            while store.waitingBytes > 0 { try store.writeWaiting() }
        }
        try store.flush()
        // Let the merges that are due come to their end.
        var bytes = -1
        while bytes != store.diskBytes {
            bytes = store.diskBytes
            usleep(300_000)
        }
        // A write buffer, what level 0 has before it is merged, and level 1; and not the whole store.
        disk.fill(leaving: 80 << 20)
        #expect(store.diskBytes > 90 << 20)
        for number in 0..<10 {
            var batch = StateBatch()
            batch.put(Array("z\(number)".utf8), [UInt8(number)])
            try store.write(batch)
            try store.flush()
        }
        #expect(store.waitingBytes == 0)
    }

    /// Who writes while another thread gives the store what waits sees every row all the time.
    @Test func rowsAreSeenWhileTheyGo() throws {
        let disk = try SmallDisk(megabytes: 64)
        let store = try RocksStateStore(path: disk.path + "/state")
        disk.fill()
        var count = 0
        while store.waitingBytes < 4 << 20, count < 60_000 {
            try write(count..<count + 100, to: store)
            count += 100
        }
        let giver = try BackgroundWorker<Bool>(name: "giver")
        disk.empty()
        for _ in 0..<40 {
            giver.submit { (try? store.writeWaiting()) != nil }
            try write(count..<count + 50, to: store)
            count += 50
            let whole = expected(count)
            #expect(try store.get(row(count - 1).key) == row(count - 1).value)
            let isSame = try all(of: store) == whole
            #expect(isSame, "after \(count) rows")
        }
        giver.stop()
        try store.flush()
        let isSame = try all(of: store) == expected(count)
        #expect(isSame)
    }

    @Test func theBallastIsAllOrNothing() throws {
        let disk = try SmallDisk(megabytes: 20)
        let space = try #require(DiskSpace(of: disk.path))
        #expect(space.totalBytes == 20 << 20)
        let ballast = Ballast(in: disk.path, on: space)
        #expect(ballast.bytes == 1 << 20 && !ballast.exists)
        try ballast.make()
        let left = try #require(DiskSpace(of: disk.path))
        #expect(left.freeBytes <= 19 << 20)
        ballast.remove()
        disk.fill()
        #expect(throws: StorageError.self) { try ballast.make() }
        #expect(!ballast.exists)
    }

    /// More than the bound is refused and not half taken.
    @Test func whatWaitsIsBounded() throws {
        let disk = try SmallDisk(megabytes: 24)
        let store = try RocksStateStore(path: disk.path + "/state")
        disk.fill()
        var refused: StorageError?
        var count = 0
        while refused == nil, count < 300 {
            var batch = StateBatch()
            batch.put(Array("big \(count)".utf8), [UInt8](repeating: 7, count: 512 << 10))
            do { try store.write(batch) } catch { refused = error }
            count += 1
        }
        #expect(refused?.reason == .noSpace)
        #expect(store.waitingBytes < Limits.storeWaitingBytesMax + (1 << 20))
        #expect(try store.get(Array("big \(count - 1)".utf8)) == nil)
        #expect(try store.get(Array("big \(count - 2)".utf8)) != nil)
    }
}
