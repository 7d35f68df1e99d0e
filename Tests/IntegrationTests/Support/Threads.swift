// Plain threads for tests: for blocking calls that must not hold a thread of Swift's own pool.

import Glibc
import Synchronization

private final class Body: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

@discardableResult
func onThread(_ body: @escaping @Sendable () -> Void) -> pthread_t {
    var thread = pthread_t()
    let result = pthread_create(
        &thread,
        nil,
        { argument in
            guard let argument else { return nil }
            Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
            return nil
        },
        Unmanaged.passRetained(Body(body)).toOpaque()
    )
    precondition(result == 0, "a test can start a thread")
    pthread_detach(thread)
    return thread
}

/// What threads have found so far.
private final class Board<Answer: Sendable>: Sendable {
    let answers = Mutex<[Int: Result<Answer, any Error>]>([:])
}

/// Runs `work` on as many threads at once and waits for all; the answers are in order.
func together<Answer: Sendable>(
    _ count: Int,
    within seconds: Double = 60,
    _ work: @escaping @Sendable (Int) throws -> Answer
) throws -> [Answer] {
    let board = Board<Answer>()
    for index in 0..<count {
        onThread {
            let answer = Result { try work(index) }
            board.answers.withLock { $0[index] = answer }
        }
    }
    try eventually("all \(count) threads", within: seconds) {
        board.answers.withLock { $0.count } == count
    }
    let answers = board.answers.withLock { $0 }
    return try (0..<count).compactMap { try answers[$0]?.get() }
}

/// Holds this thread.
func pause(milliseconds: UInt32) { usleep(milliseconds * 1000) }
