// Running worlds: one, or many.

import Glibc
import PulseCore
import PulseSimulator

func report(_ verdict: Verdict) {
    if let commit = getenv("PULSE_COMMIT") { say("commit: \(String(cString: commit))") }
    say("knobs: \(verdict.knobs)\nbuggify: \(verdict.buggifySites)\nfaults: \(verdict.plan)")
    say("the last events:")
    for line in verdict.lastLines { say("    " + line) }
    for violation in verdict.violations.prefix(20) { say("broken promise, \(violation)") }
    if verdict.violations.count > 20 { say("and \(verdict.violations.count - 20) more") }
    say("broken by event \(verdict.counts.events)")
    say("repeat: pulse-sim --seed \(verdict.seed)\(verdict.options.arguments) --verbose")
}

func summary(_ verdict: Verdict) -> String {
    let counts = verdict.counts
    return "\(verdict.notifications) notifications, \(counts.calls) calls, "
        + "\(counts.crashes) crashes, \(counts.turns) turns, \(counts.events) events, "
        + "\(verdict.simulated.nanoseconds / 1_000_000_000) s simulated"
}

func runOne(_ seed: UInt64, _ options: Options) -> Bool {
    say("seed \(seed)")
    prepareLastWords("seed \(seed)", repeat: "--seed \(seed)\(options.run.arguments) --verbose")
    var listener: ((String) -> Void)?
    if options.isVerbose { listener = { line in say(line) } }
    let verdict = Simulation.run(seed: seed, options: options.run, listener: listener)
    if !verdict.isKept { report(verdict) }
    say(summary(verdict))
    say("state \(Simulation.hexadecimal(verdict.stateHash))")
    say("trace \(Simulation.hexadecimal(verdict.traceHash))")
    return verdict.isKept
}

func runMany(_ seeds: ClosedRange<UInt64>, _ options: Options) -> Bool {
    var failed = 0
    var done = 0
    var hash: UInt64 = 0
    var coverage = Coverage()
    var simulated = 0.0
    let start = clock()
    for seed in seeds {
        prepareLastWords("seed \(seed)", repeat: "--seed \(seed)\(options.run.arguments) --verbose")
        let verdict = Simulation.run(seed: seed, options: options.run)
        done += 1
        coverage += verdict.coverage
        simulated += Double(verdict.simulated.nanoseconds) / 1e9
        withUnsafeBytes(of: verdict.traceHash.littleEndian) { hash = XXH3.hash($0, seed: hash) }
        if !verdict.isKept {
            failed += 1
            say("seed \(seed)")
            report(verdict)
            if options.stopsAtFailure { return false }
        }
        if done % 50 == 0 { say("\(done) seeds, \(failed) failed; \(seed): \(summary(verdict))") }
    }
    let seconds = Double(clock() - start) / Double(CLOCKS_PER_SEC)
    say("\(coverage)")
    let never = coverage.never
    if !never.isEmpty { say("never: \(never.joined(separator: ", "))") }
    say("trace \(Simulation.hexadecimal(hash))")
    let speed = Int(simulated / max(seconds, 0.001))
    say(
        "\(done) seeds, \(failed) failed; \(Int(simulated)) s simulated in \(Int(seconds)) s of CPU, "
            + "\(speed) in one"
    )
    let unexpected = never.filter { !Coverage.isRare($0) }
    if options.demandsCoverage, !unexpected.isEmpty {
        say("these paths are not rare and were never taken: \(unexpected.joined(separator: ", "))")
        return false
    }
    guard speed >= options.leastSpeed else {
        say("slow: at least \(options.leastSpeed) s were to be simulated in one of CPU")
        return false
    }
    return failed == 0
}

/// Prints the deliberate mistakes, one a line: name, bug class, hunter, seeds of the quick form.
func listMutants() {
    #if MUTANTS
    for row in Mutant.table {
        say("\(row.name) \(row.bugClass) \(row.hunter.rawValue) \(row.quickSeeds)")
    }
    #else
    fail("this build has no mutants: build with -Xswiftc -DMUTANTS")
    #endif
}
