// The records of a compressed batch, inflated into memory of their own: views point into it.

import PulseCore

/// The records of one batch, as they were before they were compressed.
package final class InflatedRecords {
    package let bytes: UnsafeRawBufferPointer
    private let memory: RawBuffer

    /// Inflates the records of a batch whose checksum holds and whose codec is LZ4. The memory taken is
    /// bounded by ``Limits/batchBytesMax`` and the window of the frame (4 MiB at most, given back at
    /// once), whatever the batch says.
    init(of batch: UnsafeRawBufferPointer) throws(RecordBatchError) {
        let limit = Limits.batchBytesMax - RecordBatch.headerBytes
        let source = UnsafeRawBufferPointer(rebasing: batch[RecordBatch.headerBytes...])
        let room = LZ4Frame.room(toInflate: source, limit: limit)
        memory = RawBuffer(capacity: room)
        do throws(LZ4Frame.Problem) {
            let count = try LZ4Frame.inflate(source, into: memory.mutableBytes(0..<room))
            bytes = memory.bytes(0..<count)
        } catch {
            switch error {
            case .malformed: throw .badCompression
            case .tooLarge: throw .inflatesTooFar(limit: limit)
            }
        }
    }
}
