// A story in a legal order that has everything: a command of each kind, records, segments that are let go,
// a gap with what it lost, rows of every kind, and the hot state in every version that is read.
//
//     segment 0 | groups, records, outcomes, a template, a step of the clock
//     segment 1 | what is open of segment 0 is kept, its keys are remembered, it is released
//     behind    | a gap

import PulseBroker
import PulseCore

enum SeedStory {
    enum Step {
        case commands([Command])
        /// Records of ``stream``, and in which hundredth of a second each is due; 0: at once. Behind so
        /// many offsets that are left out.
        case records([UInt8], behind: UInt8 = 0)
        case nextSegment
        case gap([FuzzTarget.FoldScript.Loss])
    }

    static let stream = StreamID(topic: TopicID(1), partition: PartitionID(0), lane: .normal)

    static let whole: [Step] =
        begun.map { .commands([$0]) } + [.records([0, 0, 0, 0, 0, 0, 0, 100])]
        + outcomes.map { .commands([$0]) } + [.nextSegment] + kept.map { .commands([$0]) }

    /// Ends with a gap, behind which counts are not settled.
    static let holed: [Step] = whole + [.gap(lossesOfGap), .commands([.started(at: time(6))])]

    /// And the first start after the repair.
    static let settled: [Step] = holed + [.commands([reckoning]), .records([0, 0], behind: 7)]

    static var commands: [Command] { begun + outcomes + kept + [reckoning] }

    /// The hot state after each of them.
    static func states() throws -> [ShardState] {
        try [[], whole, holed, settled].map { try FuzzTarget.folded(script($0)).state }
    }

    /// All rows that any of it ever put.
    static func rows() throws -> [StateRow] { try FuzzTarget.folded(script(settled)).rows }

    /// As the target `fold` reads it.
    static func script(_ steps: [Step]) -> [UInt8] {
        var script = Script()
        for step in steps {
            switch step {
            case .commands(let commands):
                script.add(0, bytes: 1)
                script.add(field: commands.flatMap(FuzzTarget.encoded))
            case .records(let dues, let behind):
                script.add(1, bytes: 1)
                script.bytes +=
                    [behind << 4 | UInt8(stream.rawValue & 3), UInt8(dues.count - 1)] + dues
            case .nextSegment: script.add(UInt64(FuzzTarget.FoldScript.nextSegment), bytes: 1)
            case .gap(let losses): FuzzTarget.FoldScript.add(losses, reach: 256, to: &script)
            }
        }
        return script.bytes
    }

    // MARK: - Its parts

    private static let delivery = GroupID(1)
    private static let audit = GroupID(2)

    private static let begun: [Command] = [
        .groupCreated(
            delivery,
            topic: stream.topic,
            name: "delivery",
            starts: [Command.GroupStart(stream: stream, offset: Offset(0))]
        ),
        .groupCreated(audit, topic: stream.topic, name: "audit", starts: []),
        .started(at: time(2)),
        .templatePut(
            TemplateRow(
                name: "welcome",
                channel: .email,
                subject: "Hi",
                text: "Hello {{name}}",
                html: "<p>",
                savedAt: time(1)
            )
        ),
    ]

    private static let outcomes: [Command] =
        [
            .intent(step(0, 1)),
            .delivered(step(0, 1), code: 250, detail: "ok"),
            .intent(step(1, 1)),
            .held(step(1, 1), due: time(1000), reason: .backoff, code: 451, detail: "later"),
            .intent(step(1, 2, due: 1000)),
            .dead(
                step(1, 2, due: 1000),
                deadOffset: Offset(0),
                cause: .recipientDead,
                code: 550,
                detail: "no such user"
            ),
            .cancelled(step(2, 0)),
            .delivered(step(4, 1), code: 250, detail: "before it was kept"),
            .held(step(3, 1), due: time(2000), reason: .rejected, code: 0, detail: ""),
            .clockSet(byMilliseconds: 3_600_000, .set),
            .clockSet(byMilliseconds: -1000, .start),
        ] + (0..<3).map { .delivered(step($0, 1, audit), code: 0, detail: "") }

    private static let kept: [Command] =
        [
            .told(at: time(3), .delivered(step(4, 1), code: 250, detail: "told again")),
            .kept(record(3, ready: [audit], waiting: [delivery])),
            .kept(record(4, ready: [audit])),
            .kept(record(5, ready: [delivery, audit], revision: 4096, key: "order-17")),
            .kept(record(6, ready: [delivery, audit])),
            .kept(record(7, ready: [audit], waiting: [delivery])),
            .remembered(KeyPiece(to: LogPosition(8192), keys: [key(1), key(2)])),
            .remembered(KeyPiece(to: LogPosition(12288), keys: [key(3)])),
            .released(below: 1),
            .delivered(step(5, 1), code: 250, detail: ""),
            .expired(
                Expiry(
                    group: audit,
                    stream: stream,
                    from: Offset(3),
                    to: Offset(5),
                    waiting: []
                )
            ),
            .expired(
                Expiry(
                    group: delivery,
                    stream: stream,
                    from: Offset(0),
                    to: Offset(0),
                    waiting: [(Offset(3), 2000)]
                )
            ),
            .forgot([
                .plain([0x74, 0x78, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
                .ended(EndedRow(message: step(5, 1).message, wall: time(500))),
                .kept(
                    ForgottenRow.KeptName(
                        stream: stream,
                        offset: Offset(6),
                        revision: .zero,
                        groups: [delivery, audit],
                        idempotencyRow: []
                    ),
                    bytes: UInt32(record(6, ready: [delivery, audit]).rowBytes)
                ),
            ]),
            .keysOver(KeysOver(to: LogPosition(8192), digests: [key(1).digest, key(2).digest])),
            .intent(step(5, 1, audit)),
        ]

    private static let reckoning = Command.settled(
        Reckoning(
            accepted: [12, 0, 0],
            streams: [
                .init(
                    stream: stream,
                    gap: LogPosition(64 << 20),
                    lostFrom: Offset(12),
                    end: Offset(13),
                    next: Offset(15)
                )
            ]
        )
    )

    /// What the gap has lost: of this stream for certain, of another perhaps, and of any that nothing
    /// tells of.
    private static let lossesOfGap: [FuzzTarget.FoldScript.Loss] = [
        .init(place: 2, first: 8, count: 4, isExact: true),
        .init(place: 5, first: 0, count: 3, isExact: false),
        .init(place: 15, first: 0, count: 5, isExact: false),
    ]

    private static func time(_ milliseconds: Int64) -> WallTimestamp {
        WallTimestamp(milliseconds: milliseconds)
    }

    /// A step that takes a message from where it is ready, or from the row with a due time.
    private static func step(
        _ offset: Int64,
        _ attempt: UInt16,
        _ group: GroupID = delivery,
        due: Int64 = 0
    ) -> Command.Step {
        Command.Step(
            message: MessageKey(group: group, stream: stream, offset: Offset(offset)),
            attempt: attempt,
            previous: LogPosition(4096),
            origin: due == 0 ? .fresh : .held,
            heldDue: due
        )
    }

    private static func record(
        _ offset: Int64,
        ready: [GroupID],
        waiting: [GroupID] = [],
        revision: UInt64 = 0,
        key: String? = nil
    ) -> KeptRecord {
        var envelope = EnvelopeWriter()
        envelope.append(.user, "ada")
        if let key { envelope.append(.idempotencyKey, key) }
        return KeptRecord(
            stream: stream,
            offset: Offset(offset),
            position: LogPosition(4096),
            wall: time(500),
            revision: LogPosition(revision),
            ready: ready,
            waiting: waiting,
            key: Array("ada".utf8),
            value: envelope.bytes
        )
    }

    private static func key(_ number: UInt64) -> RememberedKey {
        RememberedKey(
            digest: KeyDigest(high: number, low: ~number),
            stream: stream,
            offset: Offset(Int64(number)),
            state: UInt8(number),
            content: number << 32,
            steady: time(Int64(500 + number))
        )
    }
}
