// A program run by a test: what it says is collected, and it never outlives the test.

import Glibc
import Synchronization

/// A child and its output, standard output and standard error in one.
///
/// `collected` is filled by the child's own reading thread; `ending` is set by whoever waits first.
final class ChildProcess: Sendable {
    let pid: pid_t
    private let collected: Collected
    private let ending = Mutex<Int32?>(nil)

    private final class Collected: Sendable {
        let bytes = Mutex<[UInt8]>([])
        let isComplete = Atomic(false)
    }

    /// Held while a pipe's end could leak into another child, whose output would then never end.
    private static let spawning = Mutex(())

    init(
        _ program: String,
        _ arguments: [String],
        environment: [String: String] = [:]
    ) throws(TestFailure) {
        let (pid, reading) = try Self.spawning.withLock { _ throws(TestFailure) in
            try Self.spawn(program, arguments, environment)
        }
        self.pid = pid
        let collected = Collected()
        self.collected = collected
        onThread {
            var buffer = [UInt8](repeating: 0, count: 4096)
            while true {
                let count = read(reading, &buffer, buffer.count)
                guard count > 0 else { break }
                collected.bytes.withLock { $0.append(contentsOf: buffer[..<count]) }
            }
            collected.isComplete.store(true, ordering: .releasing)
            close(reading)
        }
    }

    private static func spawn(
        _ program: String,
        _ arguments: [String],
        _ environment: [String: String]
    ) throws(TestFailure) -> (pid: pid_t, output: Int32) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw TestFailure("no pipe") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 2)

        var variables = ["SWIFT_BACKTRACE": "enable=no"]
        for name in ["PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR"] {
            if let value = getenv(name) { variables[name] = String(cString: value) }
        }
        variables.merge(environment) { $1 }
        let argv = ([program] + arguments).map { strdup($0) } + [nil]
        let envp = variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for text in argv + envp { free(text) } }
        var pid: pid_t = 0
        let code = posix_spawn(&pid, program, &actions, nil, argv, envp)
        close(ends[1])
        guard code == 0 else {
            close(ends[0])
            throw TestFailure("\(program) could not be started: \(String(cString: strerror(code)))")
        }
        return (pid, ends[0])
    }

    deinit { end() }

    /// Everything said so far.
    var output: String {
        collected.bytes.withLock { String(decoding: $0, as: UTF8.self) }
    }

    /// The whole lines said so far.
    var lines: [String] {
        var lines = output.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        lines.removeLast()
        return lines
    }

    func send(_ signal: Int32) { if ending.withLock({ $0 == nil }) { kill(pid, signal) } }

    /// Whether the child still runs; collects its exit status when it does not.
    var isRunning: Bool { exitStatus == nil }

    /// The exit code, 128 and the signal's number when a signal ended it, nil while it runs.
    var exitStatus: Int32? {
        ending.withLock { ending in
            if let ending { return ending }
            var status: Int32 = 0
            guard waitpid(pid, &status, WNOHANG) == pid else { return nil }
            ending = status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
            return ending
        }
    }

    /// Waits for the child to end, and for its last words.
    func wait(atMost seconds: Double = 20) throws -> Int32 {
        let status = try eventually("the end of process \(pid): \(output)", within: seconds) {
            exitStatus
        }
        try eventually("the last words of process \(pid)", within: 5) {
            collected.isComplete.load(ordering: .acquiring)
        }
        return status
    }

    /// Kills the child as a power cut would, and waits until it is gone.
    func end() {
        send(SIGKILL)
        let deadline = uptime() + 10
        while isRunning, uptime() < deadline { usleep(1000) }
    }
}
