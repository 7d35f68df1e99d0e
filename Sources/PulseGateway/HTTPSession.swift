// One HTTP connection, without the connection: bytes and times in, requests and bytes out.

package import PulseCore

/// Parses requests, and puts answers back into the order of the requests.
///
/// The node drives it: ``receive(_:at:requests:output:)`` for every read, ``respond(to:_:output:)``
/// for every request, in any order, ``reachedTime(_:output:)`` when ``deadline`` has passed.
///
///             a refusal of the session, or a request that is the last
///     open ------------------------------------------------------------> closing
///       |                                                                   |
///       |                                its answer, and all before it, left |
///       `------------------------------------------------------------> closed
///             idle too long
///
/// Always true:
/// - in `closing`, the last of `answers` is the one that ends the connection;
/// - `backlog` has unread bytes only when more came than ``Limits/httpPipelinedMax`` allows.
package final class HTTPSession {
    private enum Phase {
        case open
        case closing
        case closed
    }

    /// Bytes kept while paused: one request of the largest size.
    ///
    /// More means that the shell went on reading although it was told not to.
    private static let backlogBytesMax = Limits.httpHeaderBytesMax + Limits.httpBodyBytesMax

    private let parser = HTTPParser()
    private let json = JSONParser()
    private var phase = Phase.open
    private var answers = AnswerQueue()
    private var backlog: [UInt8] = []
    /// How much of `backlog` is parsed; all that is left moves only when half of it is.
    private var backlogRead = 0
    /// When the first byte of the current request came; nil between requests.
    private var headSince: MonotonicInstant?
    /// When the current request's head was complete; nil before.
    private var bodySince: MonotonicInstant?
    private var idleSince: MonotonicInstant
    /// An answer left after `idleSince`: idleness is counted anew at the next look at the clock.
    private var answeredSinceIdle = false
    private var owesContinue = false

    package init(at now: MonotonicInstant) { idleSince = now }

    /// Whether to close, once all that was appended to `output` has been sent.
    package var shouldClose: Bool { phase == .closed }

    /// False when too many requests wait for answers: stop reading from the connection.
    package var canReceiveMore: Bool {
        phase == .open && answers.count < Limits.httpPipelinedMax && backlog.isEmpty
    }

    /// True when kept bytes may now be parsed: call ``resume(at:requests:output:)``.
    package var needsResume: Bool {
        phase == .open && answers.count < Limits.httpPipelinedMax && !backlog.isEmpty
    }

    /// When ``reachedTime(_:output:)`` has something to do; answers that are owed have no deadline.
    package var deadline: MonotonicInstant {
        guard phase == .open else { return .distantFuture }
        if let bodySince {
            return bodySince.advanced(byMilliseconds: Limits.httpBodyMilliseconds)
        }
        if let headSince {
            return headSince.advanced(byMilliseconds: Limits.httpHeaderMilliseconds)
        }
        guard answers.isEmpty, backlog.isEmpty else { return .distantFuture }
        return idleSince.advanced(byMilliseconds: Limits.httpIdleMilliseconds)
    }

    /// Feeds bytes; appends every request that is now complete.
    ///
    /// What must be sent at once (100 Continue, refusals of the session itself) is appended to
    /// `output`.
    package func receive(
        _ bytes: UnsafeRawBufferPointer,
        at now: MonotonicInstant,
        requests: inout [IncomingRequest],
        output: inout [UInt8]
    ) {
        guard phase == .open, !bytes.isEmpty else { return }
        idleSince = now
        guard backlog.isEmpty else {
            keep(bytes)
            resume(at: now, requests: &requests, output: &output)
            return
        }
        let used = feed(bytes, at: now, requests: &requests, output: &output)
        if phase == .open, used < bytes.count {
            keep(UnsafeRawBufferPointer(rebasing: bytes[used...]))
        }
    }

    /// Parses bytes that were kept while too many requests waited.
    package func resume(
        at now: MonotonicInstant,
        requests: inout [IncomingRequest],
        output: inout [UInt8]
    ) {
        guard needsResume else { return }
        let kept = backlog
        let start = backlogRead
        backlog = []
        backlogRead = 0
        let used = kept.withUnsafeBytes {
            feed(
                UnsafeRawBufferPointer(rebasing: $0[start...]),
                at: now,
                requests: &requests,
                output: &output
            )
        }
        guard phase == .open, start + used < kept.count else { return }
        backlog = kept
        backlogRead = start + used
    }

    /// Answers the request in `slot`; appends to `output` everything that may now be sent in order.
    package func respond(
        to slot: UInt32,
        _ response: borrowing HTTPResponse,
        output: inout [UInt8]
    ) {
        guard phase != .closed else { return }
        let isLast = answers.answer(slot, response, output: &output)
        answeredSinceIdle = true
        if isLast { phase = .closed }
        sendContinueIfDue(&output)
    }

    /// Checks deadlines: a request that takes too long is refused, an idle connection closes silently.
    package func reachedTime(_ now: MonotonicInstant, output: inout [UInt8]) {
        guard phase == .open, now >= deadline else { return }
        if headSince != nil || bodySince != nil {
            refuse(.requestTimeout, nil, output: &output)
        } else if answeredSinceIdle {
            answeredSinceIdle = false
            idleSince = now
        } else {
            phase = .closed
        }
    }

    // MARK: Parsing

    /// Parses until the bytes end, the connection is to close, or too many requests wait.
    private func feed(
        _ bytes: UnsafeRawBufferPointer,
        at now: MonotonicInstant,
        requests: inout [IncomingRequest],
        output: inout [UInt8]
    ) -> Int {
        var used = 0
        while used < bytes.count, phase == .open, answers.count < Limits.httpPipelinedMax {
            let (consumed, message) = parser.put(UnsafeRawBufferPointer(rebasing: bytes[used...]))
            used += consumed
            switch message.state {
            case .inHead:
                if headSince == nil, message.isStarted { headSince = now }
            case .inBody:
                guard bodySince == nil else { break }
                bodySince = now
                if message.expectsContinue, message.body.isEmpty {
                    owesContinue = true
                    sendContinueIfDue(&output)
                }
            case .complete:
                take(message, into: &requests)
                parser.next()
                headSince = nil
                bodySince = nil
                owesContinue = false
            case .failed(let code, let reason):
                refuse(code, reason, output: &output)
            }
        }
        return used
    }

    private func take(_ message: HTTPMessage, into requests: inout [IncomingRequest]) {
        let request = Router.request(from: message, json)
        json.clear()
        let slot = answers.add(
            omitsBody: message.method.equals("HEAD"),
            closes: !message.keepsAlive
        )
        requests.append(IncomingRequest(slot: slot, request: request))
        if !message.keepsAlive { stopReading() }
    }

    private func keep(_ bytes: UnsafeRawBufferPointer) {
        guard backlog.count - backlogRead + bytes.count <= Self.backlogBytesMax else {
            // Nothing more can be understood; what was asked is still answered.
            stopReading()
            if answers.isEmpty {
                phase = .closed
            } else {
                answers.closeAfterLast()
            }
            return
        }
        if backlogRead > backlog.count / 2 {
            backlog.removeFirst(backlogRead)
            backlogRead = 0
        }
        backlog.append(contentsOf: bytes)
    }

    // MARK: Answering

    /// Refuses in the session's own name: nothing after these bytes can be trusted, so it is the end.
    private func refuse(_ code: ErrorCode, _ detail: String?, output: inout [UInt8]) {
        let slot = answers.add(omitsBody: false, closes: true)
        stopReading()
        if answers.answer(slot, .problem(code, detail: detail), output: &output) {
            phase = .closed
        }
    }

    private func stopReading() {
        phase = .closing
        backlog = []
        backlogRead = 0
        headSince = nil
        bodySince = nil
        owesContinue = false
    }

    /// The interim answer may leave when every answer before it has.
    private func sendContinueIfDue(_ output: inout [UInt8]) {
        guard owesContinue, answers.isEmpty else { return }
        output.append("HTTP/1.1 100 Continue\r\n\r\n")
        owesContinue = false
    }
}
