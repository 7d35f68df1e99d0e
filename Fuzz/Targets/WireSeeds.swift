// One well-formed frame of every kind, for the fuzzers of the native protocol to begin with.

import PulseCore
import PulseWire

enum WireSeeds {
    static let streams: [[UInt8]] =
        [
            requests.flatMap { $0 }, replies.flatMap { $0 },
        ] + requests + replies

    private static func frame(_ write: (inout [UInt8]) -> Void) -> [UInt8] {
        var bytes: [UInt8] = []
        write(&bytes)
        return bytes
    }

    private static let id = NotificationID(high: 1, low: 2)
    private static let token = DeliveryToken(
        stream: StreamID(topic: TopicID(1), partition: PartitionID(3), lane: .normal),
        offset: Offset(7),
        attempt: 1,
        lease: 9
    )
    private static let tokens = TokenRuns(
        (0..<3).map { index in
            DeliveryToken(
                stream: token.stream,
                offset: Offset(Int64(index)),
                attempt: 1,
                lease: UInt64(index)
            )
        }
    )
    private static let template = TemplateMessage(
        name: "welcome",
        channel: .email,
        subject: "Hi",
        text: "Hello {{name}}",
        html: "<p>"
    )

    private static let requests: [[UInt8]] = [
        frame {
            HelloRequest(clientName: "c", clientVersion: "1").encode(correlation: 1, into: &$0)
        },
        frame { produce(&$0) },
        frame {
            SubscribeRequest(
                subscription: 7,
                topic: "notify.email",
                group: "g",
                start: .earliest,
                credit: 10
            ).encode(correlation: 3, into: &$0)
        },
        frame { UnsubscribeRequest(subscription: 7).encode(correlation: 4, into: &$0) },
        frame { CreditMessage(subscription: 7, add: 128).encode(into: &$0) },
        frame {
            AcknowledgeView.encode(subscription: 7, tokens: tokens, correlation: 5, into: &$0)
        },
        frame {
            RejectView.encode(
                subscription: 7,
                delayMilliseconds: 5,
                reason: "full",
                tokens: tokens,
                correlation: 6,
                into: &$0
            )
        },
        frame {
            ExtendView.encode(
                subscription: 7,
                milliseconds: 60_000,
                tokens: tokens,
                correlation: 7,
                into: &$0
            )
        },
        frame { StatusRequest(id: id).encode(correlation: 8, into: &$0) },
        frame {
            FetchRequest(
                topic: "notify.sms",
                partition: PartitionID(0),
                lane: .normal,
                from: .start,
                bytesMax: 1000
            ).encode(correlation: 9, into: &$0)
        },
        frame { template.encode(correlation: 10, into: &$0) },
        frame { ListTemplatesRequest(after: "a").encode(correlation: 11, into: &$0) },
        frame { PingMessage.encode(correlation: 12, into: &$0) },
    ]

    private static let replies: [[UInt8]] = [
        frame {
            var writer = ProduceReplyWriter(correlation: 2, in: &$0)
            writer.append(accepted: id, into: &$0)
            writer.append(duplicate: id, into: &$0)
            writer.close(in: &$0)
        },
        frame { SubscribeReply(leaseMilliseconds: 30_000).encode(correlation: 3, into: &$0) },
        frame { deliver(&$0) },
        frame {
            var writer = SettleReplyWriter(.acknowledge, correlation: 5, in: &$0)
            for stale in [false, true, false] { writer.append(stale: stale, into: &$0) }
            writer.close(in: &$0)
        },
        frame {
            let wall = WallTimestamp(milliseconds: 1)
            StatusReply(
                state: .delivered,
                channel: .email,
                lane: .normal,
                attempts: 1,
                accepted: wall,
                updated: wall
            ).encode(correlation: 8, into: &$0)
        },
        frame { ListTemplatesReply(fitting: [template]).encode(correlation: 12, into: &$0) },
        frame { PingMessage.encodeReply(correlation: 13, into: &$0) },
        frame { ErrorReply(.notFound, "no").encode(correlation: 9, into: &$0) },
        frame { GoodbyeMessage(.draining, "bye").encode(into: &$0) },
    ]

    private static func produce(_ bytes: inout [UInt8]) {
        var batch: [UInt8] = []
        let wall = WallTimestamp(milliseconds: 1)
        var writer = RecordBatchWriter(timestamp: wall, in: &batch)
        seedEnvelope.withUnsafeBytes {
            writer.append(key: nil, value: $0, timestamp: wall, into: &batch)
        }
        writer.close(in: &batch)
        batch.withUnsafeBytes { raw in
            ProduceRequestView.encode(
                topic: "notify.email",
                lane: nil,
                batch: raw,
                correlation: 2,
                into: &bytes
            )
        }
    }

    private static func deliver(_ bytes: inout [UInt8]) {
        var writer = DeliverWriter(subscription: 7, in: &bytes)
        seedEnvelope.withUnsafeBytes { value in
            writer.append(
                token,
                id: id,
                wall: WallTimestamp(milliseconds: 1),
                key: UnsafeRawBufferPointer(rebasing: value[..<2]),
                value: value,
                into: &bytes
            )
        }
        writer.close(in: &bytes)
    }
}
