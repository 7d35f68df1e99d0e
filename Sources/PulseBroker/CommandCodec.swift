// Commands to bytes and back. A new kind takes a new number; the fields of a kind never change.

package import PulseCore

extension Command {
    /// What a command begins with.
    package enum Kind: UInt8, CaseIterable, Sendable {
        case intent = 1
        case delivered = 2
        case held = 3
        case dead = 4
        case templatePut = 5
        case groupCreated = 6
        case started = 7
        case kept = 8
        case cancelled = 9
        case released = 10
        case expired = 11
        case forgot = 12
        case clockSet = 13
        case told = 14
        case remembered = 15
        case keysOver = 16
        case settled = 17
    }

    /// Appends this command, framed.
    package func append(to bytes: inout [UInt8]) {
        bytes.append(kind.rawValue)
        let lengthAt = bytes.count
        bytes.append(littleEndian: UInt32(0))
        switch self {
        case .intent(let step):
            step.append(to: &bytes)
        case .delivered(let step, let code, let detail):
            step.append(to: &bytes)
            bytes.append(littleEndian: code)
            bytes.append(string16: detail)
        case .held(let step, let due, let reason, let code, let detail):
            step.append(to: &bytes)
            bytes.append(littleEndian: due.milliseconds)
            bytes.append(reason.rawValue)
            bytes.append(littleEndian: code)
            bytes.append(string16: detail)
        case .dead(let step, let deadOffset, let cause, let code, let detail):
            step.append(to: &bytes)
            bytes.append(littleEndian: deadOffset.rawValue)
            bytes.append(cause.rawValue)
            bytes.append(littleEndian: code)
            bytes.append(string16: detail)
        case .templatePut(let row):
            row.append(to: &bytes)
        case .groupCreated(let group, let topic, let name, let starts):
            bytes.append(littleEndian: group.rawValue)
            bytes.append(littleEndian: topic.rawValue)
            bytes.append(string16: name)
            bytes.append(littleEndian: UInt32(starts.count))
            for start in starts {
                bytes.append(littleEndian: start.stream.rawValue)
                bytes.append(littleEndian: start.offset.rawValue)
            }
        case .started(let wall):
            bytes.append(littleEndian: wall.milliseconds)
        case .kept(let record):
            bytes.append(contentsOf: record.place)
            bytes.append(contentsOf: record.rowValue)
        case .cancelled(let step):
            step.append(to: &bytes)
        case .released(let below):
            bytes.append(littleEndian: below)
        case .expired(let expiry):
            expiry.append(to: &bytes)
        case .forgot(let rows):
            bytes.append(littleEndian: UInt32(rows.count))
            for row in rows { row.append(to: &bytes) }
        case .clockSet(let milliseconds, let cause):
            bytes.append(littleEndian: milliseconds)
            bytes.append(cause.rawValue)
        case .told(let wall, let command):
            bytes.append(littleEndian: wall.milliseconds)
            command.append(to: &bytes)
        case .remembered(let piece): piece.append(to: &bytes)
        case .keysOver(let over): over.append(to: &bytes)
        case .settled(let reckoning): reckoning.append(to: &bytes)
        }
        bytes.patch(at: lengthAt, littleEndian: UInt32(bytes.count - lengthAt - 4))
    }

    package var kind: Kind {
        switch self {
        case .intent: .intent
        case .delivered: .delivered
        case .held: .held
        case .dead: .dead
        case .templatePut: .templatePut
        case .groupCreated: .groupCreated
        case .started: .started
        case .kept: .kept
        case .cancelled: .cancelled
        case .released: .released
        case .expired: .expired
        case .forgot: .forgot
        case .clockSet: .clockSet
        case .told: .told
        case .remembered: .remembered
        case .keysOver: .keysOver
        case .settled: .settled
        }
    }

    /// Visits the commands of an entry's body in order.
    ///
    /// - Returns: False when the body is not a list of well-formed commands; those before the first bad
    ///   one have been visited then.
    package static func forEach(
        in body: UnsafeRawBufferPointer,
        _ visit: (Command) -> Void
    ) -> Bool {
        var reader = ByteReader(body)
        while !reader.isAtEnd {
            guard let tag = reader.byte(), let kind = Kind(rawValue: tag),
                let length: UInt32 = reader.littleEndian(), let fields = reader.take(Int(length)),
                let command = read(kind, fields)
            else { return false }
            visit(command)
        }
        return true
    }

    /// One command about a message, never another of this kind.
    private static func readTold(_ reader: inout ByteReader) -> Command? {
        guard let wall: Int64 = reader.littleEndian(), let tag = reader.byte(),
            let kind = Kind(rawValue: tag), [.delivered, .dead, .cancelled].contains(kind),
            let length: UInt32 = reader.littleEndian(), let fields = reader.take(Int(length)),
            let command = read(kind, fields)
        else { return nil }
        return .told(at: WallTimestamp(milliseconds: wall), command)
    }

    private static func read(_ kind: Kind, _ fields: UnsafeRawBufferPointer) -> Command? {
        var reader = ByteReader(fields)
        let command: Command?
        switch kind {
        case .intent:
            command = Step(&reader).map { .intent($0) }
        case .delivered:
            guard let step = Step(&reader), let code: Int32 = reader.littleEndian(),
                let detail = reader.string16()
            else { return nil }
            command = .delivered(step, code: code, detail: detail)
        case .held:
            guard let step = Step(&reader), let due: Int64 = reader.littleEndian(),
                let reason = reader.byte().flatMap(HoldReason.init(rawValue:)),
                let code: Int32 = reader.littleEndian(), let detail = reader.string16()
            else { return nil }
            command = .held(
                step,
                due: WallTimestamp(milliseconds: due),
                reason: reason,
                code: code,
                detail: detail
            )
        case .dead:
            guard let step = Step(&reader), let deadOffset: Int64 = reader.littleEndian(),
                let cause = reader.byte().flatMap(DeathCause.init(rawValue:)),
                let code: Int32 = reader.littleEndian(), let detail = reader.string16()
            else { return nil }
            command = .dead(
                step,
                deadOffset: Offset(deadOffset),
                cause: cause,
                code: code,
                detail: detail
            )
        case .templatePut:
            command = TemplateRow(&reader).map { .templatePut($0) }
        case .groupCreated:
            command = readGroup(&reader)
        case .started:
            guard let wall: Int64 = reader.littleEndian() else { return nil }
            command = .started(at: WallTimestamp(milliseconds: wall))
        case .kept:
            guard let stream: UInt32 = reader.littleEndian(),
                let offset: Int64 = reader.littleEndian()
            else { return nil }
            command = KeptRecord(StreamID(rawValue: stream), Offset(offset), &reader)
                .map { .kept($0) }
        case .cancelled:
            command = Step(&reader).map { .cancelled($0) }
        case .released:
            command = reader.littleEndian(UInt64.self).map { .released(below: $0) }
        case .expired:
            command = Expiry(&reader).map { .expired($0) }
        case .forgot:
            command = readForgotten(&reader)
        case .clockSet:
            guard let milliseconds: Int64 = reader.littleEndian(),
                let cause = reader.byte().flatMap(ClockCause.init(rawValue:))
            else { return nil }
            command = .clockSet(byMilliseconds: milliseconds, cause)
        case .told:
            command = readTold(&reader)
        case .remembered:
            command = KeyPiece(&reader).map { .remembered($0) }
        case .keysOver:
            command = KeysOver(&reader).map { .keysOver($0) }
        case .settled:
            command = Reckoning(&reader).map { .settled($0) }
        }
        return reader.isAtEnd ? command : nil
    }

    private static func readGroup(_ reader: inout ByteReader) -> Command? {
        guard let group: UInt16 = reader.littleEndian(), let topic: UInt16 = reader.littleEndian(),
            let name = reader.string16(), let count: UInt32 = reader.littleEndian(),
            Int(count) * 12 == reader.remaining
        else { return nil }
        var starts: [GroupStart] = []
        for _ in 0..<count {
            guard let stream: UInt32 = reader.littleEndian(),
                let offset: Int64 = reader.littleEndian()
            else { return nil }
            starts.append(GroupStart(stream: StreamID(rawValue: stream), offset: Offset(offset)))
        }
        return .groupCreated(GroupID(group), topic: TopicID(topic), name: name, starts: starts)
    }
}

extension Command.Step {
    fileprivate func append(to bytes: inout [UInt8]) {
        bytes.append(littleEndian: message.group.rawValue)
        bytes.append(littleEndian: attempt)
        bytes.append(littleEndian: message.stream.rawValue)
        bytes.append(littleEndian: message.offset.rawValue)
        bytes.append(littleEndian: previous.rawValue)
        bytes.append(origin.rawValue)
        bytes.append(littleEndian: heldDue)
    }

    fileprivate init?(_ reader: inout ByteReader) {
        guard let group: UInt16 = reader.littleEndian(),
            let attempt: UInt16 = reader.littleEndian(),
            let stream: UInt32 = reader.littleEndian(), let offset: Int64 = reader.littleEndian(),
            let previous: UInt64 = reader.littleEndian(),
            let origin = reader.byte().flatMap(MessageOrigin.init(rawValue:)),
            let heldDue: Int64 = reader.littleEndian()
        else { return nil }
        self.init(
            message: MessageKey(
                group: GroupID(group),
                stream: StreamID(rawValue: stream),
                offset: Offset(offset)
            ),
            attempt: attempt,
            previous: LogPosition(previous),
            origin: origin,
            heldDue: heldDue
        )
    }
}

extension TemplateRow {
    package func append(to bytes: inout [UInt8]) {
        bytes.append(channel.rawValue)
        bytes.append(littleEndian: savedAt.milliseconds)
        bytes.append(string16: name)
        bytes.append(string16: subject)
        for part in [text, html] {
            let utf8 = Array(part.utf8)
            bytes.append(littleEndian: UInt32(utf8.count))
            bytes.append(contentsOf: utf8)
        }
    }

    package init?(_ reader: inout ByteReader) {
        guard let channel = reader.byte().flatMap(Channel.init(rawValue:)),
            let savedAt: Int64 = reader.littleEndian(), let name = reader.string16(),
            let subject = reader.string16(),
            let textCount: UInt32 = reader.littleEndian(),
            let textBytes = reader.take(Int(textCount)),
            let htmlCount: UInt32 = reader.littleEndian(),
            let htmlBytes = reader.take(Int(htmlCount)),
            let text = String(validating: textBytes, as: UTF8.self),
            let html = String(validating: htmlBytes, as: UTF8.self)
        else { return nil }
        self.init(
            name: name,
            channel: channel,
            subject: subject,
            text: text,
            html: html,
            savedAt: WallTimestamp(milliseconds: savedAt)
        )
    }
}
