// pulse-sim: runs simulated worlds.
//
//     pulse-sim --seed N [--verbose]     one world; its trace hash is printed last
//     pulse-sim --seeds A..B             many; one line for each fifty and for each that fails
//
// Exit codes: 0 all promises were kept, 1 one was not, 2 wrong usage.

import Glibc
import PulseCore
import PulseSimulator

/// What to say when a precondition of the node stops the process: prepared before each seed,
/// because a signal handler may do no more than write.
nonisolated(unsafe) var lastWords = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 256)
nonisolated(unsafe) var lastWordsCount = 0

func say(_ text: String) {
    var bytes = Array((text + "\n").utf8)[...]
    while !bytes.isEmpty {
        let written = bytes.withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
        guard written > 0 else { return }
        bytes = bytes.dropFirst(written)
    }
}

func prepareLastWords(_ seed: UInt64) {
    let words = "\nseed \(seed) stopped the process\nrepeat: pulse-sim --seed \(seed) --verbose\n"
    lastWordsCount = 0
    for byte in words.utf8 where lastWordsCount < lastWords.count {
        lastWords[lastWordsCount] = byte
        lastWordsCount += 1
    }
}

func usage() -> Never {
    say("usage: pulse-sim --seed N [--verbose]\n       pulse-sim --seeds A..B")
    exit(2)
}

func report(_ verdict: Verdict) {
    say("knobs: \(verdict.knobs)\nfaults: \(verdict.plan)")
    say("the last events:")
    for line in verdict.lastLines { say("    " + line) }
    for violation in verdict.violations.prefix(20) { say("broken promise, \(violation)") }
    if verdict.violations.count > 20 { say("and \(verdict.violations.count - 20) more") }
    say("repeat: pulse-sim --seed \(verdict.seed) --verbose")
}

func summary(_ verdict: Verdict) -> String {
    let counts = verdict.counts
    return "\(verdict.notifications) notifications, \(counts.calls) calls, "
        + "\(counts.crashes) crashes, \(counts.turns) turns, \(counts.events) events, "
        + "\(verdict.simulated.nanoseconds / 1_000_000_000) s simulated"
}

func runOne(_ seed: UInt64, verbose: Bool) -> Bool {
    say("seed \(seed)")
    prepareLastWords(seed)
    var listener: ((String) -> Void)?
    if verbose { listener = { line in say(line) } }
    let verdict = Simulation.run(seed: seed, listener: listener)
    if !verdict.isKept { report(verdict) }
    say(summary(verdict))
    say("state \(Simulation.hexadecimal(verdict.stateHash))")
    say("trace \(Simulation.hexadecimal(verdict.traceHash))")
    return verdict.isKept
}

func runMany(_ seeds: ClosedRange<UInt64>) -> Bool {
    var failed = 0
    var done = 0
    var hash: UInt64 = 0
    var rare = RareCounts()
    for seed in seeds {
        prepareLastWords(seed)
        let verdict = Simulation.run(seed: seed)
        done += 1
        rare += verdict.counts.rare
        withUnsafeBytes(of: verdict.traceHash.littleEndian) { hash = XXH3.hash($0, seed: hash) }
        if !verdict.isKept {
            failed += 1
            say("seed \(seed)")
            report(verdict)
        }
        if done % 50 == 0 { say("\(done) seeds, \(failed) failed; \(seed): \(summary(verdict))") }
    }
    say("\(done) seeds, \(failed) failed; \(rare)")
    say("trace \(Simulation.hexadecimal(hash))")
    return failed == 0
}

func seedRange(_ text: String) -> ClosedRange<UInt64>? {
    let dots = Array("..".utf8)
    let bytes = Array(text.utf8)
    for place in bytes.indices where bytes[place...].starts(with: dots) {
        guard let first = UInt64(String(decoding: bytes[..<place], as: UTF8.self)),
            let last = UInt64(String(decoding: bytes[(place + 2)...], as: UTF8.self)), first <= last
        else { return nil }
        return first...last
    }
    return nil
}

for stop in [SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGBUS] {
    signal(stop) { _ in
        _ = write(1, lastWords.baseAddress, lastWordsCount)
        _exit(1)
    }
}

let arguments = Array(CommandLine.arguments.dropFirst())
switch arguments.first {
case "--seed":
    guard arguments.count >= 2, let seed = UInt64(arguments[1]) else { usage() }
    let options = arguments.dropFirst(2)
    guard options.allSatisfy({ $0 == "--verbose" }) else { usage() }
    exit(runOne(seed, verbose: !options.isEmpty) ? 0 : 1)
case "--seeds":
    guard arguments.count == 2, let seeds = seedRange(arguments[1]) else { usage() }
    exit(runMany(seeds) ? 0 : 1)
default: usage()
}
