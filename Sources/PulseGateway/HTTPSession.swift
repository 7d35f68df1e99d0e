// One HTTP connection, without the connection: bytes and times in, requests and bytes out.

package import PulseCore

/// Parses requests, and puts answers back into the order of the requests.
///
/// The node drives it: ``receive(_:at:requests:output:)`` for every read, ``respond(to:_:output:)`` for
/// every request, in any order, ``reachedTime(_:output:)`` when ``deadline`` has passed.
///
///                    a refusal of the session, or a request that is the last
///       open  -----------------------------------------------------------------> closing
///         |                                                                         |
///         | idle too long                        its answer, and all before it, left |
///         `-----------------------------------------------------------------> closed
///
/// Always true:
/// - `exchanges` holds what was asked and not fully answered, oldest first, with consecutive slots;
/// - the first of them has no answer yet (an answer whose turn it is leaves at once);
/// - bytes are in `backlog` only when more came than ``Limits/httpPipelinedMax`` allows.
package final class HTTPSession {
    private enum Phase {
        case open
        case closing
        case closed
    }

    /// A request on its way to its answer.
    private struct Exchange {
        var slot: UInt32
        /// HEAD: the length is told, the body is not sent.
        var omitsBody: Bool
        var closes: Bool
        /// The answer, when it came before its turn.
        var answer: [UInt8]?
    }

    /// Bytes kept while paused: one request of the largest size. More means that the shell went on
    /// reading although it was told not to.
    private static let backlogBytesMax = Limits.httpHeaderBytesMax + Limits.httpBodyBytesMax

    private let parser = HTTPParser()
    private let json = JSONParser()
    private var phase = Phase.open
    private var exchanges: [Exchange] = []
    private var nextSlot: UInt32 = 0
    private var backlog: [UInt8] = []
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
        phase == .open && exchanges.count < Limits.httpPipelinedMax && backlog.isEmpty
    }

    /// True when kept bytes may now be parsed: call ``resume(at:requests:output:)``.
    package var needsResume: Bool {
        phase == .open && exchanges.count < Limits.httpPipelinedMax && !backlog.isEmpty
    }

    /// When ``reachedTime(_:output:)`` has something to do; answers that the node owes have no deadline.
    package var deadline: MonotonicInstant {
        guard phase == .open else { return .distantFuture }
        if let bodySince {
            return bodySince.advanced(byMilliseconds: Limits.httpBodyMilliseconds)
        }
        if let headSince {
            return headSince.advanced(byMilliseconds: Limits.httpHeaderMilliseconds)
        }
        guard exchanges.isEmpty, backlog.isEmpty else { return .distantFuture }
        return idleSince.advanced(byMilliseconds: Limits.httpIdleMilliseconds)
    }

    /// Feeds bytes; appends every request that is now complete.
    ///
    /// What must be sent at once (100 Continue, refusals of the session itself) is appended to `output`.
    package func receive(
        _ bytes: UnsafeRawBufferPointer, at now: MonotonicInstant,
        requests: inout [IncomingRequest], output: inout [UInt8]
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
        at now: MonotonicInstant, requests: inout [IncomingRequest], output: inout [UInt8]
    ) {
        guard needsResume else { return }
        let kept = backlog
        backlog = []
        let used = kept.withUnsafeBytes {
            feed($0, at: now, requests: &requests, output: &output)
        }
        if phase == .open, used < kept.count { backlog = Array(kept[used...]) }
    }

    /// Answers the request in `slot`; appends to `output` everything that may now be sent in order.
    package func respond(
        to slot: UInt32, _ response: borrowing HTTPResponse, output: inout [UInt8]
    ) {
        guard phase != .closed else { return }
        guard let first = exchanges.first, Int(slot &- first.slot) < exchanges.count else {
            preconditionFailure("slot \(slot) waits for no answer")
        }
        let index = Int(slot &- first.slot)
        let exchange = exchanges[index]
        precondition(exchange.answer == nil, "slot \(slot) is answered twice")
        if index == 0 {
            response.write(
                to: &output, closes: exchange.closes, omitsBody: exchange.omitsBody)
            remove(1, closing: exchange.closes)
            flush(&output)
        } else {
            var answer: [UInt8] = []
            response.write(
                to: &answer, closes: exchange.closes, omitsBody: exchange.omitsBody)
            exchanges[index].answer = answer
        }
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
        _ bytes: UnsafeRawBufferPointer, at now: MonotonicInstant,
        requests: inout [IncomingRequest], output: inout [UInt8]
    ) -> Int {
        var used = 0
        while used < bytes.count, phase == .open, exchanges.count < Limits.httpPipelinedMax {
            let (consumed, message) = parser.put(UnsafeRawBufferPointer(rebasing: bytes[used...]))
            used += consumed
            switch message.state {
            case .inHead:
                if headSince == nil, message.isStarted { headSince = now }
            case .inBody:
                guard bodySince == nil else { break }
                bodySince = now
                guard meetsExpectation(of: message) else {
                    refuse(.expectationFailed, nil, output: &output)
                    break
                }
                if message.expect != nil, message.isVersion11, message.body.isEmpty {
                    owesContinue = true
                    flush(&output)
                }
            case .complete:
                guard meetsExpectation(of: message) else {
                    refuse(.expectationFailed, nil, output: &output)
                    break
                }
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

    private func meetsExpectation(of message: HTTPMessage) -> Bool {
        guard let expect = message.expect, message.isVersion11 else { return true }
        return expect.equals("100-continue", ignoringCase: true)
    }

    private func take(_ message: HTTPMessage, into requests: inout [IncomingRequest]) {
        let request = Router.request(from: message, json)
        exchanges.append(
            Exchange(
                slot: nextSlot, omitsBody: message.method.equals("HEAD"),
                closes: !message.keepsAlive, answer: nil))
        requests.append(IncomingRequest(slot: nextSlot, request: request))
        nextSlot &+= 1
        if !message.keepsAlive { stopReading() }
    }

    private func keep(_ bytes: UnsafeRawBufferPointer) {
        guard backlog.count + bytes.count <= Self.backlogBytesMax else {
            // Nothing more can be understood; what was asked is still answered.
            stopReading()
            if exchanges.isEmpty { phase = .closed } else { exchanges[exchanges.count - 1].closes = true }
            return
        }
        backlog.append(contentsOf: bytes)
    }

    // MARK: Answering

    /// Refuses in the session's own name: nothing after these bytes can be trusted, so it is the end.
    private func refuse(_ code: ErrorCode, _ detail: String?, output: inout [UInt8]) {
        var answer: [UInt8] = []
        HTTPResponse.problem(code, detail: detail).write(
            to: &answer, closes: true, omitsBody: false)
        exchanges.append(
            Exchange(slot: nextSlot, omitsBody: false, closes: true, answer: answer))
        nextSlot &+= 1
        stopReading()
        flush(&output)
    }

    private func stopReading() {
        phase = .closing
        backlog = []
        headSince = nil
        bodySince = nil
        owesContinue = false
    }

    /// Sends every answer whose turn has come, and the interim answer when nothing is before it.
    private func flush(_ output: inout [UInt8]) {
        var sent = 0
        var closing = false
        while sent < exchanges.count, !closing, let answer = exchanges[sent].answer {
            output.append(contentsOf: answer)
            closing = exchanges[sent].closes
            sent += 1
        }
        if sent > 0 { remove(sent, closing: closing) }
        if owesContinue, exchanges.isEmpty {
            output.append("HTTP/1.1 100 Continue\r\n\r\n")
            owesContinue = false
        }
    }

    private func remove(_ count: Int, closing: Bool) {
        exchanges.removeFirst(count)
        answeredSinceIdle = true
        guard closing else { return }
        phase = .closed
        exchanges.removeAll()
    }
}
