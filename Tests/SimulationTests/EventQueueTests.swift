// Time in the simulated world: events come in order of time, and in order of adding within one
// moment.

import PulseCore
import PulseSimulator
import Testing

@Suite("Event queue")
struct EventQueueTests {
    @Test("orders by time, then by order of adding")
    func orders() {
        var queue = EventQueue<Int>()
        var random = SeededGenerator(seed: 3)
        for number in 0..<500 {
            queue.add(number, at: MonotonicInstant(nanoseconds: UInt64(random.below(20))))
        }
        var last: (time: MonotonicInstant, event: Int)?
        while let next = queue.next() {
            if let last { #expect((last.time, last.event) < (next.time, next.event)) }
            last = next
        }
        #expect(queue.count == 0)
    }

    @Test("finds a submission by the mark in whatever holds it")
    func marks() {
        let submission = Submission(number: 417, door: .v1, channel: .email, user: "u")
        let text = "Subject: \(submission.mark)\r\n\r\nmark-x mark-9"
        #expect(Submission.number(markedIn: Array(text.utf8)) == 417)
        #expect(Submission.number(markedIn: Array("mark-12 mark-".utf8)) == nil)
    }
}
