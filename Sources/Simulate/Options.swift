// The command line of pulse-sim.

import PulseCore
import PulseSimulator

struct Options {
    var seed: UInt64?
    var seeds: ClosedRange<UInt64>?
    var isVerbose = false
    var isShrinking = false
    /// Many seeds fail when a path that is not rare was never taken.
    var demandsCoverage = false
    /// Many seeds fail when they took more processor time than for so many simulated seconds in one.
    var leastSpeed = 0
    /// What of the world takes part.
    var run = RunOptions()
    /// The chosen mistake as arguments, for further processes.
    var mutantArguments: [String] = []
    /// Many seeds end with the first that fails.
    var stopsAtFailure = false

    static let usage = """
        usage: pulse-sim --seed N [--verbose] [--until EVENT] [--faults 1,4|none]
                         [--clients 0,2] [--submissions N] [--plain] [--keep-all]
                         [--no-inputs] [--repairs]
               pulse-sim --seed N --shrink       the smallest part of it that still fails
               pulse-sim --seeds A..B [--first-failure] [--coverage] [--least-speed N]
               pulse-sim torture [quick|long|faults|syncs|cuts|damage|metadata|cases|repairs]
                                 [--seed N] [--cuts N] [--flips N] [--every N] [--scenarios N]
               pulse-sim mutants                 list the deliberate mistakes (a -DMUTANTS build)
               --mutant NAME                     make one of them
        """

    /// - Throws: A sentence about what is wrong.
    init(_ arguments: [String]) throws(OptionError) {
        var rest = arguments[...]
        func value(of option: String) throws(OptionError) -> String {
            guard let value = rest.popFirst() else {
                throw OptionError(text: "\(option) needs a value")
            }
            return value
        }
        while let option = rest.popFirst() {
            switch option {
            case "--seed":
                let text = try value(of: option)
                guard let number = UInt64(text) else {
                    throw OptionError(text: "\(text) is no seed")
                }
                seed = number
            case "--seeds":
                let text = try value(of: option)
                guard let range = Self.range(text) else {
                    throw OptionError(text: "\(text) is no range, as 1..300 is")
                }
                seeds = range
            case "--verbose": isVerbose = true
            case "--first-failure": stopsAtFailure = true
            case "--coverage": demandsCoverage = true
            case "--least-speed": leastSpeed = try Self.number(try value(of: option))
            case "--shrink": isShrinking = true
            case "--plain": run.isPlain = true
            case "--keep-all": run.keepsAll = true
            case "--no-inputs": run.leavesOutInputs = true
            case "--repairs": run.repairs = true
            case "--faults": run.faults = try Self.numbers(try value(of: option))
            case "--clients": run.clients = try Self.numbers(try value(of: option))
            case "--submissions": run.submissionsMax = try Self.number(try value(of: option))
            case "--until": run.untilEvent = try Self.number(try value(of: option))
            case "--mutant":
                let name = try value(of: option)
                mutantArguments = [option, name]
                try Self.choose(mutant: name)
            default: throw OptionError(text: "unknown option \(option)")
            }
        }
        guard (seed == nil) != (seeds == nil) else { throw OptionError(text: Self.usage) }
    }

    private static func number(_ text: String) throws(OptionError) -> Int {
        guard let number = Int(text), number >= 0 else {
            throw OptionError(text: "\(text) is no number")
        }
        return number
    }

    private static func numbers(_ text: String) throws(OptionError) -> Set<Int> {
        if text == "none" { return [] }
        var numbers: Set<Int> = []
        for part in text.split(separator: ",") { numbers.insert(try number(String(part))) }
        return numbers
    }

    static func choose(mutant name: String) throws(OptionError) {
        #if MUTANTS
        guard let mutant = Mutant.named(name) else {
            throw OptionError(text: "no mutant \(name)")
        }
        Mutant.chosen = mutant
        #else
        throw OptionError(text: "this build has no mutants: build with -Xswiftc -DMUTANTS")
        #endif
    }

    private static func range(_ text: String) -> ClosedRange<UInt64>? {
        let dots = Array("..".utf8)
        let bytes = Array(text.utf8)
        for place in bytes.indices where bytes[place...].starts(with: dots) {
            guard let first = UInt64(String(decoding: bytes[..<place], as: UTF8.self)),
                let last = UInt64(String(decoding: bytes[(place + 2)...], as: UTF8.self)),
                first <= last
            else { return nil }
            return first...last
        }
        return nil
    }
}

struct OptionError: Error {
    var text: String
}
