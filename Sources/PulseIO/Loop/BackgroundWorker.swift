// One thread for slow work, so that the loop never waits for it.

import CKernel
import Glibc
import Synchronization

/// Runs jobs in the order given, one at a time, and tells their results to a loop.
package final class BackgroundWorker<Completion: Sendable>: Sendable {
    package typealias Job = @Sendable () -> Completion

    /// Results, in the order of the jobs.
    ///
    /// Attach it to the loop that wants them.
    package let completions: Mailbox<Completion>

    private let queue: JobQueue<Completion>
    private let thread: OperatingThread

    package init(name: String) throws(IOFailure) {
        let completions = try Mailbox<Completion>()
        let queue = try JobQueue<Completion>()
        self.completions = completions
        self.queue = queue
        thread = try OperatingThread(name: name) {
            while let job = queue.next() { completions.post(job()) }
        }
    }

    /// Queues a job; from any thread.
    ///
    /// Jobs queued after ``stop()`` are not run.
    package func submit(_ job: @escaping Job) { queue.add(job) }

    /// Finishes the job under way, or with `finishing` all that are queued, and ends the thread.
    ///
    /// Their results are in the mailbox.
    package func stop(finishing: Bool = true) {
        queue.close(emptying: !finishing)
        thread.join()
    }
}

/// What the worker's thread waits on: a list under a lock, and a counter that blocks its reader.
private final class JobQueue<Completion: Sendable>: Sendable {
    private struct Content {
        var jobs: [@Sendable () -> Completion] = []
        var isClosed = false
    }

    private let content = Mutex(Content())
    private let counter: OwnedDescriptor

    init() throws(IOFailure) {
        counter = OwnedDescriptor(
            takingOver: try SystemCall.require("create a job queue") { pulse_eventfd(0) }
        )
    }

    func add(_ job: @escaping @Sendable () -> Completion) {
        let isFirst = content.withLock { content in
            guard !content.isClosed else { return false }
            content.jobs.append(job)
            return content.jobs.count == 1
        }
        if isFirst { wake() }
    }

    func close(emptying: Bool) {
        content.withLock { content in
            content.isClosed = true
            if emptying { content.jobs = [] }
        }
        wake()
    }

    /// The next job, or nil when the queue is closed and empty.
    ///
    /// Blocks while there is none.
    func next() -> (@Sendable () -> Completion)? {
        while true {
            let (job, isClosed) = content.withLock { content in
                (content.jobs.isEmpty ? nil : content.jobs.removeFirst(), content.isClosed)
            }
            if let job { return job }
            if isClosed { return nil }
            var count: UInt64 = 0
            _ = SystemCall.attempt { read(counter.rawValue, &count, 8) }
        }
    }

    private func wake() {
        var one: UInt64 = 1
        _ = SystemCall.attempt { write(counter.rawValue, &one, 8) }
    }
}
