// Answers that may not leave yet, because what they promise is not durable yet.

import PulseCore
import PulseGateway

struct WaitingAnswers {
    enum Answer {
        case http(ConnectionID, slot: UInt32, HTTPResponse)
        /// A whole frame.
        case native(ConnectionID, [UInt8])
    }

    private var queue: [(durableAt: LogPosition, answer: Answer)] = []
    private var head = 0

    var isEmpty: Bool { head == queue.count }
    var count: Int { queue.count - head }

    /// Answers leave in the order in which they were added.
    mutating func add(_ answer: Answer, durableAt: LogPosition) {
        queue.append((durableAt, answer))
    }

    /// The next answer, if everything below its position is durable.
    mutating func next(durable: LogPosition) -> Answer? {
        guard head < queue.count, queue[head].durableAt <= durable else { return nil }
        let answer = queue[head].answer
        head += 1
        if head == queue.count {
            queue.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 4096 {
            queue.removeFirst(head)
            head = 0
        }
        return answer
    }
}
