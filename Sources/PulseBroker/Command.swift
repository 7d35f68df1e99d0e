// Everything that changes a shard's state besides a new record, as bytes: the body of a command entry.
// One entry holds the commands of one turn that belong together.
//
//      +------+-------------+----------------------+
//      | kind | length, u32 | fields of the kind   |   repeated, little-endian
//      +------+-------------+----------------------+
//
// Source: spec/03-storage.md, "Commands".

package import PulseCore

/// A consumer group's number inside a shard; 0 is never used.
package struct GroupID: Hashable, Comparable, BitwiseCopyable, Sendable {
    package var rawValue: UInt16

    package init(_ rawValue: UInt16) { self.rawValue = rawValue }
    package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// Which message of which group a command speaks of.
package struct MessageKey: Hashable, Comparable, BitwiseCopyable, Sendable {
    package var group: GroupID
    package var stream: StreamID
    package var offset: Offset

    package init(group: GroupID, stream: StreamID, offset: Offset) {
        self.group = group
        self.stream = stream
        self.offset = offset
    }

    package static func < (a: Self, b: Self) -> Bool {
        (a.group, a.stream, a.offset) < (b.group, b.stream, b.offset)
    }
}

/// Where a message was before a step took it.
package enum MessageOrigin: UInt8, BitwiseCopyable, Sendable {
    /// Ready in its stream.
    case fresh = 0
    /// A row that waited for a time somebody named.
    case scheduled = 1
    /// A row that waited for another attempt.
    case held = 2
}

/// Why a message waits.
package enum HoldReason: UInt8, BitwiseCopyable, Sendable {
    case scheduled = 1
    case backoff = 2
    case leaseExpired = 3
    case rejected = 4

    package var name: String {
        switch self {
        case .scheduled: "scheduled"
        case .backoff: "backoff"
        case .leaseExpired: "lease_expired"
        case .rejected: "rejected"
        }
    }
}

/// Why a message is dead.
package enum DeathCause: UInt8, Sendable {
    case attemptsUsedUp = 1
    case recipientDead = 2
    case payloadBad = 3

    package var name: String {
        switch self {
        case .attemptsUsedUp: "attempts_used_up"
        case .recipientDead: "recipient_dead"
        case .payloadBad: "payload_bad"
        }
    }
}

/// One change of state.
package enum Command: Hashable, Sendable {
    /// The provider is about to be called: attempt `attempt` of this message.
    case intent(Step)
    /// The message was delivered; nothing follows.
    case delivered(Step, code: Int32, detail: String)
    /// The message waits until `due`; `attempt` counts the attempts made so far.
    case held(Step, due: WallTimestamp, reason: HoldReason, code: Int32, detail: String)
    /// The message gave up; it is offset `deadOffset` of its topic's lane `dead`.
    case dead(Step, deadOffset: Offset, cause: DeathCause, code: Int32, detail: String)
    case templatePut(TemplateRow)
    case groupCreated(GroupID, topic: TopicID, name: String, starts: [GroupStart])
    /// A process began to serve this log: intents still open were cut off by a crash.
    case started(at: WallTimestamp)
    /// The record leaves its segment, which retention wants to let go, and lives on as a row.
    case kept(KeptRecord)
    /// Somebody took the notification back before it was delivered; nothing follows.
    case cancelled(Step)
    /// Segments below this number are let go: nothing in them is needed.
    case released(below: UInt64)
    /// A consumer group that nobody reads lost what retention could not keep for it.
    case expired(Expiry)
    /// Rows whose time is over are deleted.
    case forgot([ForgottenRow])
    /// How a record that is about to be kept had ended for a group before, and when: the entry that tells
    /// of it may go before the record.
    indirect case told(at: WallTimestamp, Command)
    /// Keys of records that are about to go by size while their window is open.
    case remembered(KeyPiece)
    /// Some of those whose time is over.
    case keysOver(KeysOver)
    /// The wall clock is ahead of steady time by so many milliseconds more, from this entry on.
    case clockSet(byMilliseconds: Int64, ClockCause)
    /// The first start after a repair: where streams go on, and counts are settled here.
    case settled(Reckoning)

    /// What every command about a message carries.
    package struct Step: Hashable, Sendable {
        package var message: MessageKey
        package var attempt: UInt16
        /// The entry that tells the step before this one, or the record's own.
        package var previous: LogPosition
        package var origin: MessageOrigin
        /// The due time of the row that this step takes the message from, 0 when it is fresh.
        package var heldDue: Int64

        package init(
            message: MessageKey,
            attempt: UInt16,
            previous: LogPosition,
            origin: MessageOrigin,
            heldDue: Int64
        ) {
            self.message = message
            self.attempt = attempt
            self.previous = previous
            self.origin = origin
            self.heldDue = heldDue
        }
    }

    package struct GroupStart: Hashable, Sendable {
        package var stream: StreamID
        package var offset: Offset

        package init(stream: StreamID, offset: Offset) {
            self.stream = stream
            self.offset = offset
        }
    }

    /// The step of a command about a message, nil for the others.
    package var step: Step? {
        switch self {
        case .intent(let step), .delivered(let step, _, _), .held(let step, _, _, _, _),
            .dead(let step, _, _, _, _), .cancelled(let step):
            step
        case .templatePut, .groupCreated, .started, .kept, .released, .expired, .forgot,
            .clockSet, .told, .remembered, .keysOver, .settled:
            nil
        }
    }

    /// The highest number of a group that the command takes to exist; nil when it names none.
    var latestGroup: GroupID? {
        switch self {
        case .told(_, let command): command.latestGroup
        case .kept(let record): (record.ready + record.waiting).max()
        case .expired(let expiry): expiry.group
        default: step?.message.group
        }
    }
}

/// What one group loses of one stream.
package struct Expiry: Hashable, Sendable {
    package var group: GroupID
    package var stream: StreamID
    /// All that is ready for the group from here on ...
    package var from: Offset
    /// ... and before here.
    package var to: Offset
    /// Messages of the same range that wait in rows, with their due times.
    package var waiting: [(offset: Offset, due: Int64)]

    package init(
        group: GroupID,
        stream: StreamID,
        from: Offset,
        to: Offset,
        waiting: [(offset: Offset, due: Int64)]
    ) {
        self.group = group
        self.stream = stream
        self.from = from
        self.to = to
        self.waiting = waiting
    }

    package static func == (a: Self, b: Self) -> Bool {
        a.group == b.group && a.stream == b.stream && a.from == b.from && a.to == b.to
            && a.waiting.elementsEqual(b.waiting, by: ==)
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(group)
        hasher.combine(stream)
        hasher.combine(from)
        hasher.combine(to)
        for (offset, due) in waiting {
            hasher.combine(offset)
            hasher.combine(due)
        }
    }
}

/// A row that is deleted because its time is over.
package enum ForgottenRow: Hashable, Sendable {
    /// Any row that counts nowhere: a template's revision, a dead letter.
    case plain([UInt8])
    /// The note that a kept record ended for a group.
    case ended(EndedRow)
    /// A kept record with all that belongs to it; `bytes` are its row's, as they were counted.
    case kept(KeptName, bytes: UInt32)

    /// What is needed of a kept record to delete its rows.
    package struct KeptName: Hashable, Sendable {
        package var stream: StreamID
        package var offset: Offset
        package var revision: LogPosition
        package var groups: [GroupID]
        /// The row of its idempotency key, empty for none.
        package var idempotencyRow: [UInt8]

        package init(
            stream: StreamID,
            offset: Offset,
            revision: LogPosition,
            groups: [GroupID],
            idempotencyRow: [UInt8]
        ) {
            self.stream = stream
            self.offset = offset
            self.revision = revision
            self.groups = groups
            self.idempotencyRow = idempotencyRow
        }
    }
}

/// A template as saved.
package struct TemplateRow: Hashable, Sendable {
    package var name: String
    package var channel: Channel
    package var subject: String
    package var text: String
    package var html: String
    package var savedAt: WallTimestamp

    package init(
        name: String,
        channel: Channel,
        subject: String,
        text: String,
        html: String,
        savedAt: WallTimestamp
    ) {
        self.name = name
        self.channel = channel
        self.subject = subject
        self.text = text
        self.html = html
        self.savedAt = savedAt
    }
}
