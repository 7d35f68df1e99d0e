// Calls to mail servers, each on a thread of its own.
//
// libcurl's multi interface does not block, with one exception: after the message was handed over, SMTP
// waits in place for the server's verdict (seen with 7.88: `poll` inside `curl_multi_socket_action`). A
// server that thinks for a second would hold up everything else in the loop for that second. So mail
// leaves the broker's loop: each thread has a loop and a caller of its own and takes one call at a time;
// what it waits for holds up nobody.
//
//     broker's loop --call--> mailbox of an idle thread --> its loop, libcurl
//          ^                                                      |
//          `-------------------- mailbox of answers --------------'
//
// Threads are started when they are needed and kept with their connection; the one that was idle last
// is used first, so that few connections carry a light load.

package import PulseCore
package import PulseDelivery

package final class MailCaller {
    private enum Report: Sendable {
        case answered(thread: Int, CallID, ProviderAnswer)
        /// The thread has ended and reads no more; its last word. `isOld` when it could be set up and
        /// failed later.
        case broken(thread: Int, reason: String, isOld: Bool)
        /// No thread was to be had.
        case unsent(CallID, reason: String)
    }

    private typealias Call = (call: CallID, request: ProviderRequest)
    /// A call for a thread, or nil: the thread ends.
    private typealias Order = Call?

    /// A thread that takes calls.
    private struct Worker {
        var orders: Mailbox<Order>
        /// What it works on.
        var current: Call?
    }

    private let options: ProviderCaller.Options
    private let threadsMax: Int
    private let makeLoop: @Sendable () throws(IOFailure) -> EventLoop
    private let deliver: ProviderCaller.Deliver
    private let reports: Mailbox<Report>
    /// By number; nil where a thread broke, until another takes its place.
    private var workers: [Worker?] = []
    /// Each is in `workers` and has no current call.
    private var idle: [Int] = []
    /// Never anything while there is no thread.
    private var waiting: [Call] = []

    /// - Parameters:
    ///   - threadsMax: Calls at a time; more wait here, their time not running yet.
    ///   - makeLoop: Makes a thread's loop, on that thread; it may fail when descriptors are few.
    ///   - deliver: Called in a turn of `loop`; it may start further calls.
    package init(
        loop: EventLoop,
        threadsMax: Int,
        options: ProviderCaller.Options = ProviderCaller.Options(),
        makeLoop: @escaping @Sendable () throws(IOFailure) -> EventLoop = EventLoop.init,
        deliver: @escaping ProviderCaller.Deliver
    ) throws(IOFailure) {
        precondition(threadsMax > 0, "mail needs a thread")
        self.options = options
        self.threadsMax = threadsMax
        self.makeLoop = makeLoop
        self.deliver = deliver
        reports = try Mailbox()
        _ = try reports.attach(to: loop) { [unowned self] in
            for report in $0 { self.take(report) }
        }
    }

    /// Starts a call; its answer comes in a later turn, exactly once.
    package func start(_ call: CallID, _ request: ProviderRequest) {
        if let thread = idle.popLast() {
            give((call, request), to: thread)
            return
        }
        do throws(IOFailure) {
            if let thread = try addThread() {
                give((call, request), to: thread)
            } else {
                waiting.append((call, request))
            }
        } catch { keepOrRefuse((call, request), because: "\(error)") }
    }

    /// Lets the threads end when they are done; answers of calls under way are not told any more.
    package func close() {
        for worker in workers { worker?.orders.post(nil) }
        waiting.removeAll()
    }

    private func give(_ call: Call, to thread: Int) {
        workers[thread]?.current = call
        workers[thread]?.orders.post(call)
    }

    /// A call that no thread could be made for waits for those there are, and is not sent when there is
    /// none.
    private func keepOrRefuse(_ call: Call, because reason: String) {
        if workers.contains(where: { $0 != nil }) {
            waiting.append(call)
        } else {
            reports.post(.unsent(call.call, reason: reason))
        }
    }

    private func take(_ report: Report) {
        switch report {
        case .answered(let thread, let call, let answer):
            workers[thread]?.current = nil
            if waiting.isEmpty {
                idle.append(thread)
            } else {
                give(waiting.removeFirst(), to: thread)
            }
            deliver(call, answer)
        case .broken(let thread, let reason, let isOld):
            let current = workers[thread]?.current
            workers[thread] = nil
            idle.removeAll { $0 == thread }
            let left = waiting
            waiting = []
            if let current {
                if isOld {
                    // It may have been under way.
                    deliver(current.call, .lost(reason: reason))
                } else {
                    keepOrRefuse(current, because: reason)
                }
            }
            for call in left { keepOrRefuse(call, because: reason) }
        case .unsent(let call, let reason): deliver(call, .notSent(reason: reason))
        }
    }

    /// The number of a new thread, or nil when there are as many as may be.
    private func addThread() throws(IOFailure) -> Int? {
        let free = workers.firstIndex { $0 == nil }
        let number = free ?? workers.count
        guard number < threadsMax else { return nil }
        let mailbox = try Mailbox<Order>()
        let reports = reports
        let options = options
        let makeLoop = makeLoop
        _ = try OperatingThread(name: "pulse-mail") {
            let thread = MailThread()
            do throws(IOFailure) {
                let loop = try makeLoop()
                let caller = ProviderCaller(loop: loop, options: options) {
                    reports.post(.answered(thread: number, $0, $1))
                }
                _ = try mailbox.attach(to: loop) { orders in
                    for order in orders {
                        if let order {
                            caller.start(order.call, order.request)
                        } else {
                            thread.isEnding = true
                        }
                    }
                }
                thread.isSetUp = true
                try loop.run(thread)
                caller.close()
            } catch {
                reports.post(
                    .broken(thread: number, reason: "\(error)", isOld: thread.isSetUp)
                )
            }
        }
        if free == nil { workers.append(nil) }
        workers[number] = Worker(orders: mailbox)
        return number
    }
}

/// A mail thread's side of its loop: it waits for orders and for libcurl, and for nothing else.
private final class MailThread: LoopOwner {
    var isEnding = false
    /// Whether it has begun to take calls.
    var isSetUp = false

    func turnBegan(at now: Now) {}

    func turnEnded(at now: Now) -> NextTurn { isEnding ? .stop : .by(.distantFuture) }
}
