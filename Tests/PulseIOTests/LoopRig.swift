// A loop for a test: turns until something has happened, or too much time has passed.

import Glibc
import PulseCore
import PulseIO

final class LoopRig: LoopOwner {
    let loop: EventLoop
    private(set) var turns = 0
    var onTurnEnd: () -> Void = {}

    init() throws { loop = try EventLoop() }

    func turnBegan(at now: Now) { turns += 1 }

    func turnEnded(at now: Now) -> NextTurn {
        onTurnEnd()
        return .by(.distantFuture)
    }

    /// Takes turns until `done` holds; false when it does not within the time: a minute, on a machine that
    /// has other things to do, says that it never will.
    func run(forMilliseconds limit: Int64 = 60_000, until done: () -> Bool) throws -> Bool {
        let end = SystemClocks.monotonic().advanced(byMilliseconds: limit)
        while !done() {
            guard SystemClocks.monotonic() < end else { return false }
            _ = try loop.turn(self, waitingUntil: end)
        }
        return true
    }
}

/// A directory of its own for one test, removed with everything in it.
final class ScratchDirectory {
    let path: String

    init() throws {
        var template = Array("/tmp/pulse-io-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { buffer -> String? in
            guard let start = buffer.baseAddress, mkdtemp(start) != nil else { return nil }
            return String(cString: start)
        }
        guard let made else { throw IOFailure("make a scratch directory", code: errno) }
        path = made
    }

    deinit { Self.remove(path) }

    private static func remove(_ path: String) {
        guard Path.isDirectory(path) else {
            unlink(path)
            return
        }
        for name in (try? Path.names(in: path)) ?? [] { remove(path + "/" + name) }
        rmdir(path)
    }
}

extension Array where Element == UInt8 {
    /// Bytes that differ from place to place, so that a mixed-up piece is noticed.
    static func pattern(_ count: Int) -> [UInt8] {
        var generator = SeededGenerator(seed: 42)
        // A prime length: the pattern never falls into step with a buffer.
        let piece = (0..<4093).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + piece.count)
        while bytes.count < count { bytes += piece }
        bytes.removeLast(bytes.count - count)
        return bytes
    }
}
