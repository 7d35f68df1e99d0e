// pulse-sim torture: the log on a disk that does its worst.
//
//     pulse-sim torture [quick | long]           all of them
//     pulse-sim torture faults|syncs|cuts|damage|metadata|cases|repairs [--seed N] [--cuts N] [--flips N]
//                      [--every N] [--scenarios N]
//
// Exit codes as those of the simulation: 0 all promises were kept, 1 one was not, 2 wrong usage.

import Glibc
import PulseCore
import PulseSimulator

struct TortureOptions {
    var kinds: [String] = []
    var cuts = 20_000
    var flips = 1000
    /// Single faults: every so manyth call, and in how many scenarios.
    var every = 1
    var scenarios = 1
    var seed: UInt64 = 1

    static let all = standard + ["repairs"]
    /// What quick and long forms run: `repairs` still breaks at a few seeds (spec/09).
    static let standard = ["faults", "syncs", "cuts", "damage", "metadata", "cases"]

    /// - Throws: A sentence about what is wrong.
    init(_ arguments: [String]) throws(OptionError) {
        var rest = arguments[...]
        if let first = rest.first, !first.hasPrefix("--") {
            rest.removeFirst()
            switch first {
            case "quick": kinds = Self.standard
            case "long":
                kinds = Self.standard
                cuts = 100_000
                flips = 10_000
                scenarios = 10
            default:
                guard Self.all.contains(first) else { throw OptionError(text: Options.usage) }
                kinds = [first]
            }
        } else {
            kinds = Self.standard
        }
        while let option = rest.popFirst() {
            let text = rest.popFirst()
            if option == "--mutant", let text {
                try Options.choose(mutant: text)
                continue
            }
            guard let value = text.flatMap({ Int($0) }), value > 0 else {
                throw OptionError(text: "\(option) needs a number")
            }
            switch option {
            case "--cuts": cuts = value
            case "--flips": flips = value
            case "--every": every = value
            case "--scenarios": scenarios = value
            case "--seed": seed = UInt64(value)
            default: throw OptionError(text: "unknown option \(option)")
            }
        }
    }
}

func torture(_ arguments: [String]) -> Never {
    let options: TortureOptions
    do throws(OptionError) { options = try TortureOptions(arguments) } catch { fail(error.text) }
    var isKept = true
    for kind in options.kinds {
        let start = processorSeconds()
        prepareLastWords("torture \(kind)", repeat: "torture \(kind) --seed \(options.seed)")
        let result = torture(kind, options)
        isKept = isKept && result.isKept
        for line in result.lines { say(line) }
        say("    \(hundredths(processorSeconds() - start)) s of processor time")
    }
    exit(isKept ? 0 : 1)
}

private func torture(_ kind: String, _ options: TortureOptions) -> TortureResult {
    switch kind {
    case "faults", "syncs":
        var faults = TortureSingleFaults()
        faults.every = options.every
        faults.seed = options.seed
        var result = kind == "faults" ? faults.run() : faults.runFailedSyncs()
        for more in 1..<max(1, options.scenarios) {
            faults.seed = options.seed + UInt64(more)
            result.add(kind == "faults" ? faults.run() : faults.runFailedSyncs())
        }
        return result
    case "damage":
        var damage = TortureDamage(flips: options.flips)
        damage.seed = options.seed
        return damage.run()
    case "cases":
        var cases = TortureCases()
        cases.seed = options.seed
        return cases.run()
    case "repairs":
        var repairs = TortureRepairs(scenarios: options.flips / 50)
        repairs.seed = options.seed
        return repairs.run()
    case "metadata":
        var metadata = TortureMetadata()
        metadata.seed = options.seed
        return metadata.run()
    default:
        var cuts = TorturePowerCuts(cuts: options.cuts)
        cuts.firstSeed = options.seed
        return cuts.run()
    }
}

private func processorSeconds() -> Double { Double(clock()) / Double(CLOCKS_PER_SEC) }

private func hundredths(_ seconds: Double) -> String {
    let count = Int(seconds * 100)
    return "\(count / 100).\(count / 10 % 10)\(count % 10)"
}
