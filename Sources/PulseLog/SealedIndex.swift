// Reading a sealed segment's index file: small tables in memory, keys read a page at a time.

import PulseCore

/// An index file that verified when it was opened. Its pages verify each time they are read.
final class SealedIndex {
    private let file: any LogFile
    private let shape: IndexShape
    private let checksums: LogChecksums
    private let fences: [UInt64]
    private let filter: KeyFilter
    private let streams: [UInt32]
    /// Where each stream's runs begin in `runs`; one more than streams.
    private let starts: [Int]
    private let runs: [StreamRun]
    private let page = RawBuffer(capacity: IndexShape.pageBytes)

    /// Opens the index of the segment with this footer; nil when the file is missing, damaged, or
    /// was made for another content.
    static func open(
        in directory: any LogDirectory,
        name: String,
        footer: SegmentFooter,
        checksums: LogChecksums
    ) throws(LogError) -> SealedIndex? {
        do throws(StorageError) {
            let file = try directory.open(name)
            let size = try file.size()
            guard size >= IndexShape.pageBytes else { return nil }
            let buffer = RawBuffer(capacity: IndexShape.pageBytes)
            let head = buffer.mutableBytes(0..<IndexShape.pageBytes)
            guard try file.read(into: head, at: 0) == IndexShape.pageBytes,
                let (shape, tables) = IndexShape.decodeHeader(
                    buffer.base,
                    footer: footer,
                    fileBytes: size,
                    checksums
                )
            else { return nil }
            let count = size - shape.fencesStart
            buffer.reserve(count, keeping: 0)
            guard
                try file.read(into: buffer.mutableBytes(0..<count), at: shape.fencesStart) == count,
                Mutant.isOn(.skipPageCRC) || checksums.block(buffer.bytes(0..<count)) == tables
            else { return nil }
            return SealedIndex(file, shape, checksums, tables: UnsafeRawPointer(buffer.base))
        } catch {
            if error.reason == .notFound { return nil }
            throw .storage(error)
        }
    }

    private init(
        _ file: any LogFile,
        _ shape: IndexShape,
        _ checksums: LogChecksums,
        tables: UnsafeRawPointer
    ) {
        self.file = file
        self.shape = shape
        self.checksums = checksums
        let start = shape.fencesStart
        fences = (0..<shape.pages).map { tables.little($0 * 8) }
        let words = tables + (shape.filterStart - start)
        filter = KeyFilter(words: (0..<shape.filterWords).map { words.little($0 * 8) })
        let table = tables + (shape.streamsStart - start)
        streams = (0..<shape.streams).map { table.little($0 * 8) }
        var starts = [0]
        for index in 0..<shape.streams {
            let count = Int(table.little(index * 8 + 4, as: UInt32.self))
            starts.append(min(shape.runs, starts[index] + count))
        }
        self.starts = starts
        let list = tables + (shape.runsStart - start)
        runs = (0..<shape.runs).map {
            StreamRun(
                baseOffset: list.little($0 * 16),
                slot: list.little($0 * 16 + 8),
                count: list.little($0 * 16 + 12)
            )
        }
    }

    var keyCount: Int { shape.keys }
    var fileBytes: Int { shape.fileBytes }

    func locate(_ stream: StreamID, _ offset: Offset) -> Int? {
        var low = 0
        var high = streams.count
        while low < high {
            let middle = (low + high) / 2
            if streams[middle] < stream.rawValue { low = middle + 1 } else { high = middle }
        }
        guard low < streams.count, streams[low] == stream.rawValue else { return nil }
        return runs.withUnsafeBufferPointer {
            find(
                offset.rawValue,
                in: UnsafeBufferPointer(rebasing: $0[starts[low]..<starts[low + 1]])
            )
        }
    }

    /// Appends the bytes of the entries seen under `key`, newest first. False when a page does not
    /// verify: the index must then be rebuilt.
    func bytes(of key: UInt64, into found: inout [Int]) throws(LogError) -> Bool {
        guard filter.mayContain(key) else { return true }
        var number = firstPage(of: key)
        while number < shape.pages, fences[number] <= key {
            guard try load(number) else { return false }
            let count = min(IndexShape.pageKeys, shape.keys - number * IndexShape.pageKeys)
            var index = firstEntry(of: key, among: count)
            while index < count, keyOfEntry(index) == key {
                found.append(
                    Int(
                        page.bytesPointer.little(index * IndexShape.entryBytes + 8, as: UInt32.self)
                    )
                        << 3
                )
                index += 1
            }
            if index < count { break }
            number += 1
        }
        return true
    }

    /// Checks every page; what inspection asks for. The number of the first that fails, or nil.
    func firstDamagedPage() throws(LogError) -> Int? {
        for number in 0..<shape.pages where !(try load(number)) { return number }
        return nil
    }

    /// The page before the first whose fence is not below the key: equal keys may begin there.
    private func firstPage(of key: UInt64) -> Int {
        var low = 0
        var high = fences.count
        while low < high {
            let middle = (low + high) / 2
            if fences[middle] < key { low = middle + 1 } else { high = middle }
        }
        return max(0, low - 1)
    }

    private func firstEntry(of key: UInt64, among count: Int) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if keyOfEntry(middle) < key { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private func keyOfEntry(_ index: Int) -> UInt64 {
        page.bytesPointer.little(index * IndexShape.entryBytes)
    }

    private func load(_ number: Int) throws(LogError) -> Bool {
        guard try readBlock(file, at: IndexShape.pageStart(number), into: page) else {
            return false
        }
        return Mutant.isOn(.skipPageCRC)
            || checksums.block(page.bytes(0..<4092))
                == page.bytesPointer.little(4092, as: UInt32.self)
    }
}

extension RawBuffer {
    var bytesPointer: UnsafeRawPointer { UnsafeRawPointer(base) }
}
