// The kernel's word that the wall clock was set: what the loop makes of it, whatever the kernel says. The
// machine's own clock is left alone.

import Glibc
import PulseCore
import PulseIO
import Testing

@Suite struct ClockAlarmTests {
    @Test func aClockThatIsSetIsToldAndWatchedAgain() throws {
        let rig = try LoopRig()
        let timer = try ScriptedTimer()
        var told: [ClockAlarm.Word] = []
        let alarm = try ClockAlarm(loop: rig.loop, timer: timer) { told.append($0) }
        #expect(timer.armed == 1)
        for round in 1...3 {
            timer.happens(ECANCELED)
            #expect(try rig.run { told.count == round })
            #expect(timer.armed == 1 + round, "after each word")
        }
        #expect(told == [.clockSet, .clockSet, .clockSet])
        #expect(try !rig.run(forMilliseconds: 20) { told.count > 3 }, "once each")
        alarm.close()
        timer.happens(ECANCELED)
        #expect(try !rig.run(forMilliseconds: 20) { told.count > 3 })
    }

    @Test func aClockThatIsSetWhileArmingIsToldInATurnOfItsOwn() throws {
        let rig = try LoopRig()
        let timer = try ScriptedTimer()
        var turns: [Int] = []
        let alarm = try ClockAlarm(loop: rig.loop, timer: timer) { _ in turns.append(rig.turns) }
        timer.armCodes = [ECANCELED]
        timer.happens(ECANCELED)
        try #require(try rig.run { turns.count == 2 })
        #expect(turns[1] == turns[0] + 1, "with a time that was read after the second setting")
        withExtendedLifetime(alarm) {}
    }

    @Test func nothingIsToldOfNothing() throws {
        let rig = try LoopRig()
        let timer = try ScriptedTimer()
        var told: [ClockAlarm.Word] = []
        let alarm = try ClockAlarm(loop: rig.loop, timer: timer) { told.append($0) }
        timer.happens(EAGAIN)
        #expect(try rig.run { timer.taken == 1 })
        #expect(told.isEmpty && timer.armed == 1)
        withExtendedLifetime(alarm) {}
    }

    /// Readable for ever, and not to be read: the loop must not spin on it.
    @Test(arguments: [true, false])
    func anAlarmThatIsLostIsToldOnceAndLetGo(whileArming: Bool) throws {
        let rig = try LoopRig()
        let timer = try ScriptedTimer()
        var told: [ClockAlarm.Word] = []
        let alarm = try ClockAlarm(loop: rig.loop, timer: timer) { told.append($0) }
        if whileArming { timer.armCodes = [EINVAL] }
        timer.happens(whileArming ? ECANCELED : EIO)
        timer.happens(EIO)
        #expect(try rig.run { !told.isEmpty })
        let failure = IOFailure("watch the wall clock", code: whileArming ? EINVAL : EIO)
        #expect(told == [.lost(failure)])
        let turns = rig.turns
        #expect(try !rig.run(forMilliseconds: 20) { told.count > 1 })
        #expect(rig.turns <= turns + 1)
        withExtendedLifetime(alarm) {}
    }

    @Test func aKernelThatRefusesIsSaid() throws {
        let rig = try LoopRig()
        let timer = try ScriptedTimer()
        timer.armCodes = [EINVAL]
        #expect(throws: IOFailure("watch the wall clock", code: EINVAL)) {
            _ = try ClockAlarm(loop: rig.loop, timer: timer) { _ in }
        }
    }

    /// The real one: of the wall clock, absolute, cancelled on set, and quiet while nobody sets it.
    @Test func theKernelsTimerIsArmedForSettings() throws {
        let rig = try LoopRig()
        var told: [ClockAlarm.Word] = []
        let before = Self.timers()
        let alarm = try ClockAlarm(loop: rig.loop) { told.append($0) }
        let added = Self.timers().subtracting(before)
        #expect(
            added.contains { $0.contains("clockid: 0\n") && $0.contains("settime flags: 03\n") },
            "\(added)"
        )
        #expect(try !rig.run(forMilliseconds: 30) { !told.isEmpty })
        alarm.close()
    }

    /// What the kernel says of this process's timers, with the number of each.
    private static func timers() -> Set<String> {
        var found: Set<String> = []
        for number in 0..<512 {
            guard let file = fopen("/proc/self/fdinfo/\(number)", "r") else { continue }
            defer { fclose(file) }
            var buffer = [UInt8](repeating: 0, count: 1024)
            let count = fread(&buffer, 1, buffer.count, file)
            let text = String(decoding: buffer[..<count], as: UTF8.self)
            if text.contains("clockid:") { found.insert("\(number)\n\(text)") }
        }
        return found
    }
}

/// A timer whose answers are written down beforehand, behind a descriptor that the loop really waits for.
private final class ScriptedTimer: ClockTimer {
    /// What the next calls of ``arm()`` answer; 0 afterwards.
    var armCodes: [Int32] = []
    private(set) var armed = 0
    private(set) var taken = 0
    private let ends: (read: Int32, write: Int32)

    init() throws {
        var pair: [Int32] = [-1, -1]
        guard pipe(&pair) == 0 else {
            throw IOFailure("make a pipe", code: errno)
        }
        ends = (pair[0], pair[1])
    }

    deinit {
        close(ends.read)
        close(ends.write)
    }

    func happens(_ code: Int32) {
        var byte = UInt8(truncatingIfNeeded: code)
        #expect(write(ends.write, &byte, 1) == 1)
    }

    var descriptor: Int32 { ends.read }

    func arm() -> Int32 {
        armed += 1
        return armCodes.isEmpty ? 0 : armCodes.removeFirst()
    }

    func take() -> Int32 {
        taken += 1
        var byte: UInt8 = 0
        return read(ends.read, &byte, 1) == 1 ? Int32(byte) : EAGAIN
    }
}
