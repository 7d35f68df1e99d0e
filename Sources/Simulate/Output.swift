// What pulse-sim prints, and the last words of a run that a precondition of the node stopped.

import Glibc

/// What to say when a precondition of the node stops the process: prepared before each run,
/// because a signal handler may do no more than write.
nonisolated(unsafe) private var lastWords = UnsafeMutableBufferPointer<UInt8>.allocate(
    capacity: 512
)
nonisolated(unsafe) private var lastWordsCount = 0

func say(_ text: String) {
    var bytes = Array((text + "\n").utf8)[...]
    while !bytes.isEmpty {
        let written = bytes.withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
        guard written > 0 else { return }
        bytes = bytes.dropFirst(written)
    }
}

/// - Parameters:
///   - what: The run in a few words, as `seed 7`.
///   - command: The arguments that repeat it.
func prepareLastWords(_ what: String, repeat command: String) {
    lastWordsCount = 0
    for byte in "\n\(what) stopped the process\nrepeat: pulse-sim \(command)\n".utf8
    where lastWordsCount < lastWords.count {
        lastWords[lastWordsCount] = byte
        lastWordsCount += 1
    }
}

/// From now on a crash of this process says which run it was.
func speakLastWords() {
    for stop in [SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGBUS] {
        signal(stop) { _ in
            _ = write(1, lastWords.baseAddress, lastWordsCount)
            _exit(1)
        }
    }
}

func fail(_ problem: String) -> Never {
    say("pulse-sim: \(problem)")
    exit(2)
}
