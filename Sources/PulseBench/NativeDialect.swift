// Produce frames of the native protocol and their replies.

import PulseCore
import PulseWire

final class NativeDialect: BenchDialect {
    private let session = ClientSession()
    /// Produces that were written before the server was ready, to be sent when it is.
    private(set) var isReady = false
    private var batch: [UInt8] = []

    func greet(into bytes: inout [UInt8]) {
        session.sayHello(name: "pulse-bench", version: "1", into: &bytes)
    }

    func write(_ number: Int, of workload: BenchWorkload, into bytes: inout [UInt8]) {
        let time = WallTimestamp(milliseconds: BenchClock.wallMilliseconds())
        batch.removeAll(keepingCapacity: true)
        var writer = RecordBatchWriter(timestamp: time, in: &batch)
        for index in number..<number + workload.batch {
            let name = "\(workload.salt)-\(index)"
            // One user for a batch: the records of a batch then go to one stream, as they do from a
            // client that gathers by partition.
            let user = "u-\(workload.salt)-\(number)"
            var envelope = EnvelopeWriter()
            envelope.append(.user, user)
            envelope.append(.address, "\(name)@bench.local")
            envelope.append(.template, workload.template)
            envelope.append(.idempotencyKey, name)
            envelope.append(datum: "code", "123456")
            envelope.append(datum: "name", "Bench")
            Array(user.utf8).withUnsafeBytes { key in
                envelope.bytes.withUnsafeBytes {
                    writer.append(key: key, value: $0, timestamp: time, into: &batch)
                }
            }
        }
        writer.close(in: &batch)
        let correlation = session.openRequest(.produce)
        batch.withUnsafeBytes {
            ProduceRequestView.encode(
                topic: "notify.\(workload.channel)",
                lane: nil,
                batch: $0,
                correlation: correlation,
                into: &bytes
            )
        }
    }

    func read(
        _ bytes: UnsafeRawBufferPointer,
        _ answered: ([BenchVerdict]) -> Void
    ) throws(BenchSocketFailure) {
        session.begin(bytes)
        do {
            while let message = try session.next() {
                switch message {
                case .ready: isReady = true
                case .produced(_, let view):
                    var verdicts: [BenchVerdict] = []
                    view.forEach { _, outcome in
                        verdicts.append(
                            outcome.status == .accepted
                                ? .accepted(outcome.id)
                                : .other("\(outcome.status) \(outcome.errorCode)")
                        )
                    }
                    answered(verdicts)
                case .refused(_, let reply):
                    answered([.other("refused \(reply.code): \(reply.message)")])
                case .subscribed, .unsubscribed, .delivered, .settled, .status, .fetched,
                    .templateSaved, .templates, .pong, .goodbye:
                    break
                }
            }
        } catch {
            throw BenchSocketFailure(description: "\(error)")
        }
    }
}
