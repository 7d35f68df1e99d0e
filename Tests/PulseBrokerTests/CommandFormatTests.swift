// Golden bytes of what the broker writes into the log and the store, worked out by hand from
// spec/03-storage.md, "Commands" and "State".

import PulseBroker
import PulseCore
import Testing

@Suite struct CommandFormatTests {
    private let step = Command.Step(
        message: MessageKey(
            group: GroupID(1),
            stream: StreamID(topic: TopicID(1), partition: PartitionID(0), lane: .normal),
            offset: Offset(5)
        ),
        attempt: 2,
        previous: LogPosition(0x1000),
        origin: .held,
        heldDue: 0x0102
    )
    private static let stepHex =
        "0100 0200 02000100 0500000000000000 0010000000000000 02 0201000000000000"

    private func bytes(_ hex: String) throws -> [UInt8] {
        let digits = Array(hex.filter { $0 != " " })
        return try stride(from: 0, to: digits.count, by: 2).map {
            try #require(UInt8(String(digits[$0...$0 + 1]), radix: 16))
        }
    }

    private func check(_ command: Command, _ hex: String) throws {
        let golden = try bytes(hex)
        var written: [UInt8] = []
        command.append(to: &written)
        #expect(written == golden)
        var read: [Command] = []
        #expect(golden.withUnsafeBytes { Command.forEach(in: $0) { read.append($0) } })
        #expect(read == [command])
    }

    @Test func commandsAboutAMessage() throws {
        try check(.intent(step), "01 21000000 \(Self.stepHex)")
        try check(
            .delivered(step, code: 250, detail: "ok"),
            "02 29000000 \(Self.stepHex) FA000000 0200 6F6B"
        )
        try check(
            .held(
                step,
                due: WallTimestamp(milliseconds: 1000),
                reason: .backoff,
                code: 451,
                detail: "busy"
            ),
            "03 34000000 \(Self.stepHex) E803000000000000 02 C3010000 0400 62757379"
        )
        try check(
            .dead(step, deadOffset: Offset(7), cause: .recipientDead, code: 550, detail: ""),
            "04 30000000 \(Self.stepHex) 0700000000000000 02 26020000 0000"
        )
    }

    @Test func commandsAboutTheShard() throws {
        let row = TemplateRow(
            name: "t",
            channel: .sms,
            subject: "",
            text: "hi",
            html: "",
            savedAt: WallTimestamp(milliseconds: 1)
        )
        try check(
            .templatePut(row),
            "05 18000000 03 0100000000000000 0100 74 0000 02000000 6869 00000000"
        )
        let start = Command.GroupStart(stream: StreamID(rawValue: 0x0001_0002), offset: Offset(9))
        try check(
            .groupCreated(GroupID(5), topic: TopicID(1), name: "a", starts: [start]),
            "06 17000000 0500 0100 0100 61 01000000 02000100 0900000000000000"
        )
        try check(.started(at: WallTimestamp(milliseconds: 2)), "07 08000000 0200000000000000")
    }

    @Test func commandsOfRetention() throws {
        let stream = step.message.stream
        try check(
            .kept(
                KeptRecord(
                    stream: stream,
                    offset: Offset(5),
                    position: LogPosition(0x1000),
                    wall: WallTimestamp(milliseconds: 9),
                    revision: LogPosition(0x0800),
                    ready: [GroupID(5)],
                    waiting: [GroupID(1)],
                    key: Array("u".utf8),
                    value: Array("ve".utf8)
                )
            ),
            "08 37000000 02000100 0500000000000000 0010000000000000 0900000000000000"
                + "0008000000000000 0100 0500 0100 0100 01000000 75 02000000 7665"
        )
        try check(.cancelled(step), "09 21000000 \(Self.stepHex)")
        try check(.released(below: 7), "0A 08000000 0700000000000000")
        try check(.clockSet(byMilliseconds: -2, .start), "0D 09000000 FEFFFFFFFFFFFFFF 02")
        try check(
            .told(
                at: WallTimestamp(milliseconds: 3),
                .delivered(step, code: 250, detail: "ok")
            ),
            "0E 36000000 0300000000000000 02 29000000 \(Self.stepHex) FA000000 0200 6F6B"
        )
        let digest = KeyDigest(high: 1, low: 2)
        let key = RememberedKey(
            digest: digest,
            stream: StreamID(rawValue: 0x0001_0002),
            offset: Offset(9),
            state: 5,
            content: 3,
            steady: WallTimestamp(milliseconds: 4)
        )
        let digestHex = "0100000000000000 0200000000000000"
        try check(
            .remembered(KeyPiece(to: LogPosition(0x1000), keys: [key])),
            "0F 39000000 0010000000000000 01000000 \(digestHex) 02000100 0900000000000000 05 "
                + "0300000000000000 0400000000000000"
        )
        try check(
            .keysOver(KeysOver(to: LogPosition(0x1000), digests: [digest])),
            "10 1C000000 0010000000000000 01000000 \(digestHex)"
        )
        try check(
            .settled(
                Reckoning(
                    accepted: [5, 0],
                    streams: [
                        Reckoning.Stream(
                            stream: stream,
                            gap: LogPosition(0x1000),
                            lostFrom: Offset(3),
                            end: Offset(4),
                            next: Offset(0x0104)
                        )
                    ]
                )
            ),
            "11 39000000 02 0500000000000000 0000000000000000 01000000 02000100 0010000000000000"
                + "0300000000000000 0400000000000000 0401000000000000"
        )
        let nested = try bytes("0E 16000000 0000000000000000 0E 09000000 0000000000000000 0E")
        #expect(!nested.withUnsafeBytes { Command.forEach(in: $0) { _ in } })
        try check(
            .expired(
                Expiry(
                    group: GroupID(5),
                    stream: stream,
                    from: Offset(1),
                    to: Offset(9),
                    waiting: [(Offset(2), 0x0102)]
                )
            ),
            "0B 2A000000 0500 02000100 0100000000000000 0900000000000000 01000000"
                + "0200000000000000 0201000000000000"
        )
        let name = ForgottenRow.KeptName(
            stream: stream,
            offset: Offset(5),
            revision: LogPosition(0x0800),
            groups: [GroupID(1)],
            idempotencyRow: [0x79]
        )
        let ended = EndedRow(message: step.message, wall: WallTimestamp(milliseconds: 9))
        try check(
            .forgot([.plain([0x74, 0x61]), .ended(ended), .kept(name, bytes: 56)]),
            "0C 40000000 03000000 01 0200 7461"
                + "02 0900000000000000 02000100 0500000000000000 0100"
                + "03 02000100 0500000000000000 0008000000000000 38000000 0100 0100 0100 79"
        )
    }

    @Test func rowsOfRetention() throws {
        let message = step.message
        #expect(
            WaitingRow.key(message) == (try bytes("77 00010002 0000000000000005 0001"))
        )
        #expect(
            WaitingRow.value(due: WallTimestamp(milliseconds: 0x0102))
                == (try bytes("0201000000000000"))
        )
        #expect(
            KeptRecord.rowKey(message.stream, message.offset)
                == (try bytes("6B 00010002 0000000000000005"))
        )
        #expect(EndedRow.outcomeKey(message) == (try bytes("78 00010002 0000000000000005 0001")))
        let ended = EndedRow(message: message, wall: WallTimestamp(milliseconds: 9))
        #expect(ended.timeKey == (try bytes("65 0000000000000009 00010002 0000000000000005 0001")))
        #expect(EndedRow(key: ended.timeKey) == ended)
        var envelope = EnvelopeWriter()
        envelope.append(.idempotencyKey, "k1")
        let record = KeptRecord(
            stream: message.stream,
            offset: message.offset,
            position: LogPosition(0x1000),
            wall: WallTimestamp(milliseconds: 9),
            revision: .zero,
            ready: [],
            waiting: [GroupID(1)],
            key: [],
            value: envelope.bytes
        )
        #expect(record.idempotencyRowKey == (try bytes("79 02 6B31 0000000000001000")))
        let row = StateRow(
            key: KeptRecord.rowKey(message.stream, message.offset),
            value: record.rowValue
        )
        #expect(KeptRecord(row) == record)
    }

    @Test func progressOfAStream() throws {
        var progress = StreamProgress(floor: Offset(0), end: Offset(70))
        for offset: Int64 in [0, 1, 65] { progress.markDone(Offset(offset)) }
        var written: [UInt8] = []
        progress.append(to: &written)
        let golden = try bytes(
            "0200000000000000 4600000000000000 02000000 0000000000000000 0200000000000000"
        )
        #expect(written == golden)
    }

    @Test func rowsOfTheStore() throws {
        var held = HeldRow(
            message: step.message,
            due: WallTimestamp(milliseconds: 0x0102),
            attempt: 2,
            reason: .backoff,
            position: LogPosition(3),
            since: WallTimestamp(milliseconds: 0x0101)
        )
        #expect(held.key == (try bytes("68 0001 0000000000000102 00010002 0000000000000005")))
        let value = try bytes("0200 02 0300000000000000 0101000000000000")
        #expect(held.value == value)
        #expect(HeldRow(StateRow(key: held.key, value: value)) == held)
        // Rows 1.0 did not say when the wait began.
        held.since = nil
        let old = try bytes("0200 02 0300000000000000")
        #expect(held.value == old)
        #expect(HeldRow(StateRow(key: held.key, value: old)) == held)
        let dead = DeadRow(
            deadStream: StreamID(rawValue: 0x0001_0004),
            deadOffset: Offset(1),
            stream: step.message.stream,
            offset: Offset(5),
            position: LogPosition(3)
        )
        #expect(dead.key == (try bytes("64 00010004 0000000000000001")))
        #expect(dead.value == (try bytes("02000100 0500000000000000 0300000000000000")))
        let template = TemplateCatalog.key("t", LogPosition(0x0102))
        #expect(template == (try bytes("74 74 00 0000000000000102")))
    }
}
