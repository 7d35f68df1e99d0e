// What is wrong when an entry of the log does not fit the state that the entries before it made.

package import PulseCore

/// An entry that cannot follow what came before it.
package struct StateError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Problem: Hashable, Sendable {
        case unreadable
        case offsetGap(StreamID, expected: Offset, found: Offset)
        case doneTwice(MessageKey)
        case groupOutOfTurn(GroupID)
        case groupUnknown(GroupID)
        case impossibleOffset(Offset)
        case neverWaited(MessageKey)
        case releasedUnfinished(UInt64)
        case impossibleCount
    }

    package var position: LogPosition
    package var problem: Problem

    package var description: String {
        let what =
            switch problem {
            case .unreadable: "its commands cannot be read"
            case .offsetGap(let stream, let expected, let found):
                "stream \(stream.rawValue) continues at offset \(found.rawValue), expected "
                    + "\(expected.rawValue)"
            case .doneTwice(let key):
                "offset \(key.offset.rawValue) of stream \(key.stream.rawValue) ends twice for "
                    + "group \(key.group.rawValue)"
            case .groupOutOfTurn(let id): "group \(id.rawValue) is created out of turn"
            case .groupUnknown(let id): "it speaks of group \(id.rawValue), which nobody created"
            case .impossibleOffset(let offset):
                "it names offset \(offset.rawValue), which cannot be"
            case .neverWaited(let key):
                "offset \(key.offset.rawValue) of stream \(key.stream.rawValue) is taken from a wait "
                    + "of group \(key.group.rawValue) that nobody is in"
            case .impossibleCount: "it ends, moves or forgets what nobody had"
            case .releasedUnfinished(let below):
                "segments below \(below) are let go although something in them is not finished"
            }
        return "the log entry at position \(position.rawValue) does not fit the state: \(what)"
    }
}
