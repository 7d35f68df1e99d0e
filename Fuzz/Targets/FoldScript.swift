// What a script of the target `fold` can say besides commands and records: where the next segment begins,
// and what a repair has given up.

import PulseBroker
import PulseCore

extension FuzzTarget {
    package enum FoldScript {
        static let gap: UInt8 = 0xFE
        static let nextSegment: UInt8 = 0xFC

        /// Offsets that a gap has swallowed; few, since folding them takes time for each.
        struct Loss {
            /// As of a batch; 15 for any stream.
            var place: UInt8
            var first: UInt16
            var count: UInt16
            var isExact: Bool
        }

        static func add(_ losses: [Loss], reach: UInt64, to script: inout Script) {
            script.add(UInt64(gap), bytes: 1)
            script.add(reach, bytes: 4)
            script.add(UInt64(losses.count), bytes: 1)
            for loss in losses {
                script.add(UInt64(loss.place), bytes: 1)
                script.add(UInt64(loss.first), bytes: 2)
                script.add(UInt64(loss.count) | (loss.isExact ? 0x8000 : 0), bytes: 2)
            }
            script.add(0, bytes: 1)
        }

        /// A gap's body, as spec/03-storage.md has it: count, losses, and how many bytes of it are missing.
        static func gapBody(_ draw: inout Draw) -> [UInt8] {
            let count = draw.byte() & 7
            guard count > 0 else { return [] }
            var bytes: [UInt8] = [1 + (count & 1), 0]
            bytes.append(littleEndian: UInt16(count))
            bytes.append(littleEndian: Int64(5))
            for _ in 0..<count {
                let stream = stream(draw.byte())
                let first = Int64(draw.number(bytes: 2))
                let count = draw.number(bytes: 2)
                bytes.append(littleEndian: stream.rawValue)
                bytes.append(littleEndian: first)
                bytes.append(littleEndian: first + Int64(count & 0xFFF))
                bytes.append(UInt8(count >> 15))
            }
            bytes.append(string16: "00000000000067108864.seg")
            return bytes.dropLast(Int(draw.byte()))
        }

        /// Whether a command in it says that more than a few thousand offsets of a stream are lost.
        static func losesMuch(_ body: [UInt8]) -> Bool {
            var much = false
            _ = body.withUnsafeBytes { bytes in
                Command.forEach(in: bytes) { command in
                    guard case .settled(let reckoning) = command else { return }
                    if reckoning.streams.contains(where: { $0.next.rawValue > 0xFFFF }) {
                        much = true
                    }
                }
            }
            return much
        }

        /// Low bits: lane, then topic.
        static func stream(_ place: UInt8) -> StreamID {
            guard place & 15 < 15 else { return .none }
            return StreamID(
                topic: TopicID(UInt16(place >> 2 & 3) + 1),
                partition: PartitionID(0),
                lane: Lane(rawValue: place & 3) ?? .normal
            )
        }
    }
}
