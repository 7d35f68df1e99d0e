// pulse-sim: runs simulated worlds.
//
//     pulse-sim --seed N [--verbose]     one world; its trace hash is printed last
//     pulse-sim --seed N --shrink        the smallest part of that world that still fails
//     pulse-sim --seeds A..B             many; one line for each fifty and for each that fails
//     pulse-sim torture [quick|long]     the log alone, on a disk that does its worst
//     pulse-sim mutants                  the deliberate mistakes, in a build that has them
//
// Exit codes: 0 all promises were kept, 1 one was not, 2 wrong usage.

import Glibc

speakLastWords()
let arguments = Array(CommandLine.arguments.dropFirst())
switch arguments.first {
case "mutants": listMutants()
case "torture": torture(Array(arguments.dropFirst()))
default:
    do throws(OptionError) {
        let options = try Options(arguments)
        if let seed = options.seed, options.isShrinking { exit(shrink(seed, options) ? 0 : 1) }
        if let seed = options.seed { exit(runOne(seed, options) ? 0 : 1) }
        if let seeds = options.seeds { exit(runMany(seeds, options) ? 0 : 1) }
    } catch { fail(error.text) }
}
