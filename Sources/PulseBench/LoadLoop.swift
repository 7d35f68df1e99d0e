// The generator: one thread, one poll, many connections. At a rate it is an open loop: a request is
// due at its intended time whatever the server does, and its latency counts from then, so a server
// that stalls cannot hide the requests that were waiting meanwhile ("coordinated omission").
//
//      due      |  |  |  |  |  |  |  |        noticed: lateness, the generator's own fault
//      begun    |  |  |     |||  |  |        needs a connection with room: the server's
//      answered   |  |  |        |||  |       latency, from due

import CKernel
import Glibc
import PulseCore

package final class LoadLoop {
    private let arguments: BenchArguments
    private let workload: BenchWorkload
    private var lanes: [Lane] = []
    /// Lanes that may have room; the one that answered last is used first.
    private var free: [Int] = []
    private var tally = Tally()
    private var start: UInt64 = 0
    /// Requests whose time has come, and requests that left.
    private var noticed = 0
    private var begun = 0
    private var lastAnswer: UInt64 = 0
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)

    /// Nanoseconds to wait for answers after the last request.
    private static let patience: UInt64 = 10_000_000_000

    /// Opens all connections.
    package init(_ arguments: BenchArguments) throws(BenchSocketFailure) {
        self.arguments = arguments
        workload = BenchWorkload(
            salt: String(BenchClock.nanoseconds() ^ UInt64(getpid()) << 40, radix: 36),
            template: arguments.template,
            channel: arguments.channel,
            authority: "\(arguments.host):\(arguments.port)",
            batch: arguments.batch
        )
        for _ in 0..<arguments.connections { lanes.append(try Lane(arguments)) }
        free = Array(lanes.indices)
    }

    deinit { buffer.deallocate() }

    /// Sends everything, waits for the answers, and tells what happened.
    package func run() throws(BenchSocketFailure) -> Tally {
        try shakeHands()
        start = BenchClock.nanoseconds() + 50_000_000
        lastAnswer = start
        let end = start + UInt64(arguments.seconds * 1e9)
        var giveUp = UInt64.max
        while true {
            let now = BenchClock.nanoseconds()
            let isOver = beginDue(at: now, end: end)
            for lane in lanes where lane.socket.wantsToWrite { lane.flush() }
            if isOver {
                if giveUp == .max { giveUp = now + Self.patience }
                if lanes.allSatisfy({ $0.inFlight == 0 }) || now >= giveUp { break }
            }
            if lanes.allSatisfy({ $0.isGone }) { break }
            wait(until: nextDue(end: end, isOver: isOver, giveUp: giveUp))
        }
        let waiting = lanes.reduce(0) { $0 + $1.inFlight }
        tally.unanswered += (waiting + max(0, noticed - begun)) * arguments.batch
        tally.sent = begun * arguments.batch
        tally.elapsedNanoseconds = lastAnswer - start
        return tally
    }

    private func shakeHands() throws(BenchSocketFailure) {
        let limit = BenchClock.nanoseconds() + Self.patience
        while !lanes.allSatisfy({ $0.isReady }) {
            for lane in lanes { lane.flush() }
            wait(until: limit)
            guard BenchClock.nanoseconds() < limit, !lanes.contains(where: { $0.isGone }) else {
                throw BenchSocketFailure(description: "the server does not shake hands")
            }
        }
    }

    /// Begins what is due and has room; returns whether there will be no more.
    private func beginDue(at now: UInt64, end: UInt64) -> Bool {
        switch arguments.pace {
        case .rate(let rate):
            let perRequest = rate / Double(arguments.batch)
            let total = max(1, Int(arguments.seconds * perRequest))
            while noticed < total, due(noticed, perRequest) <= now {
                tally.lateness.record(now - due(noticed, perRequest))
                noticed += 1
            }
            while begun < noticed, begin(intendedAt: due(begun, perRequest)) {}
            return begun == total
        case .maximum:
            guard now >= start else { return false }
            guard now < end else { return true }
            while begin(intendedAt: now) { noticed = begun }
            return false
        }
    }

    private func due(_ number: Int, _ rate: Double) -> UInt64 {
        start + UInt64(Double(number) / rate * 1e9)
    }

    /// Begins one request where there is room; false when there is none.
    private func begin(intendedAt time: UInt64) -> Bool {
        while let index = free.last {
            guard lanes[index].hasRoom else {
                free.removeLast()
                continue
            }
            lanes[index].begin(begun * arguments.batch, of: workload, intendedAt: time)
            begun += 1
            if !lanes[index].hasRoom { free.removeLast() }
            return true
        }
        return false
    }

    private func nextDue(end: UInt64, isOver: Bool, giveUp: UInt64) -> UInt64 {
        if isOver { return giveUp }
        switch arguments.pace {
        case .rate(let rate): return due(noticed, rate / Double(arguments.batch))
        case .maximum: return BenchClock.nanoseconds() < start ? start : end
        }
    }

    /// Waits for answers, and takes in those that came.
    private func wait(until time: UInt64) {
        var polled = lanes.map {
            pollfd(
                fd: $0.isGone ? -1 : $0.socket.descriptor,
                events: Int16(POLLIN) | ($0.socket.wantsToWrite ? Int16(POLLOUT) : 0),
                revents: 0
            )
        }
        let now = BenchClock.nanoseconds()
        let nanoseconds = time > now ? min(time - now, 1_000_000_000) : 0
        guard pulse_poll(&polled, Int32(polled.count), Int64(nanoseconds)) > 0 else { return }
        for (index, result) in polled.enumerated() where result.revents != 0 {
            let lane = lanes[index]
            let hadRoom = lane.hasRoom
            lane.receive(into: buffer) { intended, verdicts in note(verdicts, intended) }
            if !hadRoom, lane.hasRoom { free.append(index) }
        }
    }

    private func note(_ verdicts: [BenchVerdict], _ intended: UInt64) {
        lastAnswer = BenchClock.nanoseconds()
        tally.take(verdicts, of: arguments.batch)
        if intended >= start + UInt64(arguments.warmup * 1e9) {
            tally.latency.record(lastAnswer - intended)
        }
    }
}
