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
        /// The thread could not be set up; it takes no calls.
        case broken(thread: Int, reason: String)
    }

    /// A call for a thread, or nil: the thread ends.
    private typealias Order = (call: CallID, request: ProviderRequest)?

    private let options: ProviderCaller.Options
    private let threadsMax: Int
    private let deliver: ProviderCaller.Deliver
    private let reports: Mailbox<Report>
    private var orders: [Mailbox<Order>] = []
    /// What each thread works on.
    private var current: [CallID?] = []
    private var idle: [Int] = []
    private var waiting: [(call: CallID, request: ProviderRequest)] = []

    /// - Parameters:
    ///   - threadsMax: Calls at a time; more wait here, their time not running yet.
    ///   - deliver: Called in a turn of `loop`; it may start further calls.
    package init(
        loop: EventLoop,
        threadsMax: Int,
        options: ProviderCaller.Options = ProviderCaller.Options(),
        deliver: @escaping ProviderCaller.Deliver
    ) throws(IOFailure) {
        precondition(threadsMax > 0, "mail needs a thread")
        self.options = options
        self.threadsMax = threadsMax
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
        } else if orders.count < threadsMax, let thread = addThread() {
            give((call, request), to: thread)
        } else {
            waiting.append((call, request))
        }
    }

    /// Lets the threads end when they are done; answers of calls under way are not told any more.
    package func close() {
        for mailbox in orders { mailbox.post(nil) }
        waiting.removeAll()
    }

    private func give(_ order: (call: CallID, request: ProviderRequest), to thread: Int) {
        current[thread] = order.call
        orders[thread].post(order)
    }

    private func take(_ report: Report) {
        switch report {
        case .answered(let thread, let call, let answer):
            current[thread] = nil
            if waiting.isEmpty {
                idle.append(thread)
            } else {
                give(waiting.removeFirst(), to: thread)
            }
            deliver(call, answer)
        case .broken(let thread, let reason):
            guard let call = current[thread] else { return }
            current[thread] = nil
            deliver(call, .notSent(reason: reason))
        }
    }

    /// The number of a new thread, or nil when the system has none to give.
    private func addThread() -> Int? {
        let number = orders.count
        do throws(IOFailure) {
            let mailbox = try Mailbox<Order>()
            let reports = reports
            let options = options
            _ = try OperatingThread(name: "pulse-mail") {
                do throws(IOFailure) {
                    let loop = try EventLoop()
                    let thread = MailThread()
                    let caller = try ProviderCaller(loop: loop, options: options) {
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
                    try loop.run(thread)
                    caller.close()
                } catch { reports.post(.broken(thread: number, reason: "\(error)")) }
            }
            orders.append(mailbox)
            current.append(nil)
            return number
        } catch { return nil }
    }
}

/// A mail thread's side of its loop: it waits for orders and for libcurl, and for nothing else.
private final class MailThread: LoopOwner {
    var isEnding = false

    func turnBegan(at now: Now) {}

    func turnEnded(at now: Now) -> NextTurn { isEnding ? .stop : .by(.distantFuture) }
}
