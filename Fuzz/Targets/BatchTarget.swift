// Record batches from producers: arbitrary bytes, and the same bytes with their seals made right.

import PulseBroker
import PulseCore
import PulseLog

extension FuzzTarget {
    /// - Any bytes are refused or read, never more than they hold.
    /// - What is read and written again is read as the same records.
    /// - The checksum decides nothing but whether a batch is refused.
    static let batch = FuzzTarget(
        name: "batch",
        inputBytesMax: 4096,
        check: { bytes in
            _ = try bytes.withUnsafeBytes { try readBatch($0) }
            guard bytes.count >= RecordBatch.headerBytes else { return }
            var sealed = bytes
            seal(&sealed)
            guard let records = try sealed.withUnsafeBytes({ try readBatch($0) }) else { return }
            let again = write(records)
            guard again.count <= Limits.batchBytesMax else { return }
            let read = try again.withUnsafeBytes { try readBatch($0) }
            try require(read == records, "records written again are the same records")
            let small = try compressed(again).withUnsafeBytes { try readBatch($0) }
            try require(small == records, "and compressed they are, too")
        },
        seeds: {
            let batches = [
                write([Record()]),
                write([
                    Record(key: Array("user".utf8), value: seedEnvelope),
                    Record(key: [], value: []), Record(value: [120]),
                ]),
            ]
            return batches + batches.map(compressed)
        }
    )

    /// Makes length, magic and checksum right.
    private static func seal(_ bytes: inout [UInt8]) {
        bytes.patch(at: 8, bigEndian: UInt32(bytes.count - 12))
        bytes.patch(at: 16, bigEndian: UInt8(2))
        let crc = bytes.withUnsafeBytes { CRC32C.of(UnsafeRawBufferPointer(rebasing: $0[21...])) }
        bytes.patch(at: 17, bigEndian: crc)
    }

    /// The same batch with its records inside an LZ4 frame.
    private static func compressed(_ batch: [UInt8]) -> [UInt8] {
        var bytes = Array(batch[..<RecordBatch.headerBytes])
        batch.withUnsafeBytes { raw in
            LZ4Frame.compress(
                UnsafeRawBufferPointer(rebasing: raw[RecordBatch.headerBytes...]),
                into: &bytes
            )
        }
        bytes.patch(at: 21, bigEndian: UInt16(3))
        seal(&bytes)
        return bytes
    }

    private struct Record: Equatable {
        var key: [UInt8]?
        var value: [UInt8]?
    }

    private static func write(_ records: [Record]) -> [UInt8] {
        var bytes: [UInt8] = []
        let wall = WallTimestamp(milliseconds: 1_700_000_000_000)
        var writer = RecordBatchWriter(timestamp: wall, in: &bytes)
        for record in records {
            withOptionalBytes(record.key) { key in
                withOptionalBytes(record.value) { value in
                    writer.append(key: key, value: value, timestamp: wall, into: &bytes)
                }
            }
        }
        writer.close(in: &bytes)
        return bytes
    }

    /// The records, or nil when the batch is refused.
    private static func readBatch(_ bytes: UnsafeRawBufferPointer) throws -> [Record]? {
        guard let batch = try? RecordBatch(bytes) else { return nil }
        var records: [Record] = []
        var held = 0
        batch.forEach { record in
            records.append(
                Record(key: record.key.map(Array.init), value: record.value.map(Array.init))
            )
            held += (record.key?.count ?? 0) + (record.value?.count ?? 0) + record.headers.count
            _ = batch.timestamp(of: record)
            return true
        }
        try require(records.count == batch.count, "a batch has as many records as it says")
        let room = batch.inflated == nil ? bytes.count : Limits.batchBytesMax
        try require(held < room, "records lie within their batch, or in what it inflates to")
        try require(batch.record(batch.count) == nil, "there is no record after the last")
        try require(
            batch.record(batch.count - 1)?.offsetDelta == batch.count - 1,
            "the last record is the last"
        )
        var trusted = 0
        do throws(RecordBatchError) {
            try RecordBatch.forEachRecord(in: bytes) { _ in trusted += 1 }
        } catch { trusted = -1 }
        try require(trusted == records.count, "trusting the checksum changes nothing")
        return records
    }
}

func withOptionalBytes(_ bytes: [UInt8]?, _ body: (UnsafeRawBufferPointer?) -> Void) {
    guard let bytes else { return body(nil) }
    bytes.withUnsafeBytes { body($0) }
}

/// An envelope with every field.
let seedEnvelope: [UInt8] = {
    var writer = EnvelopeWriter()
    for field: EnvelopeField in [.user, .address, .template, .subject, .text, .html, .title] {
        writer.append(field, "field \(field.rawValue)")
    }
    writer.append(.deviceToken, "device")
    writer.append(.idempotencyKey, "key")
    writer.append(datum: "name", "Ada")
    writer.append(deliverAt: WallTimestamp(milliseconds: 1_800_000_000_000))
    writer.append(.requestedLane, byte: Lane.high.rawValue)
    writer.append(.origin, byte: EnvelopeOrigin.v1.rawValue)
    return writer.bytes
}()
