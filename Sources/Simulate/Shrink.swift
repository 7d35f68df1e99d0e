// --shrink: each try is a process of its own, so that a run that a precondition stops can be shrunk too.

import Glibc
import PulseCore
import PulseSimulator

/// Runs this program again and waits.
///
/// - Returns: Its exit code, nil when it could not be started.
private func runAgain(_ arguments: [String]) -> Int32? {
    let path = "/proc/self/exe"
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    var words: [UnsafeMutablePointer<CChar>?] = (["pulse-sim"] + arguments).map { strdup($0) }
    words.append(nil)
    defer { for word in words { free(word) } }
    var child: pid_t = 0
    guard posix_spawn(&child, path, &actions, nil, words, environ) == 0 else { return nil }
    var status: Int32 = 0
    guard waitpid(child, &status, 0) == child else { return nil }
    return status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + (status & 0x7F)
}

func shrink(_ seed: UInt64, _ options: Options) -> Bool {
    func words(_ run: RunOptions) -> [String] {
        ["--seed", "\(seed)"] + options.mutantArguments
            + run.arguments.split(separator: " ").map(String.init)
    }
    func fails(_ run: RunOptions) -> Bool {
        guard let code = runAgain(words(run)) else { fail("cannot start another process") }
        if code == 2 { fail("\(words(run)) is not understood") }
        return code != 0
    }
    guard fails(options.run) else {
        say("seed \(seed) keeps every promise")
        return true
    }
    let size = Simulation.size(seed: seed, options: options.run)
    var shrinker = Shrinker(options.run, fails: fails)
    shrinker.shrink(
        faults: size.faults,
        clients: size.clients,
        submissions: size.submissions
    )
    let smallest = shrinker.options
    say("seed \(seed), after \(shrinker.runs) runs")
    for number in (smallest.faults ?? []).sorted() {
        say("fault \(number): \(size.plan.faults[number - 1])")
    }
    let arguments = (words(smallest) + ["--verbose"]).joined(separator: " ")
    say("repeat: pulse-sim \(arguments)")
    return false
}
