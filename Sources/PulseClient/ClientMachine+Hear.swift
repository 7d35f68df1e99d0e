// What the server says, and to whom in this client it is said.

internal import PulseCore
internal import PulseWire

extension ClientMachine {
    /// Takes bytes from the socket. False when the connection is to be dropped.
    mutating func received(_ bytes: [UInt8], count: Int, at now: MonotonicInstant) -> Bool {
        guard case .up = link else { return false }
        lastHeard = now
        keepAliveAsked = false
        let failure = bytes.withUnsafeBytes {
            hearAll(UnsafeRawBufferPointer(rebasing: $0[..<count]))
        }
        guard let failure else { return true }
        linkFailed(failure, at: now)
        return false
    }

    private mutating func hearAll(_ bytes: UnsafeRawBufferPointer) -> ClientError? {
        session.begin(bytes)
        do throws(WireError) {
            while let message = try session.next() {
                if let failure = hear(message) { return failure }
            }
            return nil
        } catch {
            return ClientError(.protocolViolation, error.description)
        }
    }

    /// Acts on one message; an error means that this connection cannot go on.
    private mutating func hear(_ message: ServerMessage) -> ClientError? {
        switch message {
        case .ready:
            wasOpen = true
            if let promise = openPromise { resumptions.append(.done(promise, .success(()))) }
            openPromise = nil
            return nil
        case .delivered(let view):
            deliver(view)
            return nil
        case .goodbye: return nil
        case .refused(let correlation, let reply):
            return refused(correlation, ClientError(reply), code: reply.code)
        case .produced(let correlation, let view):
            guard case .batch(let batch) = pending.removeValue(forKey: correlation) else {
                return nil
            }
            return produced(batch, view)
        case .subscribed(let correlation, _):
            guard case .subscribe(let id) = pending.removeValue(forKey: correlation) else {
                return nil
            }
            subscribed(id)
            return nil
        case .settled(let correlation, let view):
            guard case .settle(let id, let batch) = pending.removeValue(forKey: correlation)
            else { return nil }
            return settled(id, batch, view)
        case .unsubscribed(let correlation), .pong(let correlation),
            .templateSaved(let correlation):
            answered(correlation, .saved)
            return nil
        case .status(let correlation, let reply):
            answered(correlation, .status(reply))
            return nil
        case .fetched(let correlation, let view):
            guard case .question(let asked) = pending.removeValue(forKey: correlation),
                case .fetch(let request) = asked.question
            else { return nil }
            let page = FetchPage(view, topic: request.topic)
            resumptions.append(.answer(asked.promise, .success(.page(page))))
            return nil
        case .templates(let correlation, let reply):
            answered(correlation, .templates(reply))
            return nil
        }
    }

    private mutating func answered(_ correlation: UInt32, _ answer: Answer) {
        guard case .question(let asked) = pending.removeValue(forKey: correlation) else { return }
        resumptions.append(.answer(asked.promise, .success(answer)))
    }

    private mutating func refused(
        _ correlation: UInt32,
        _ error: ClientError,
        code: UInt16
    ) -> ClientError? {
        guard correlation != 0, session.takesRequests else { return error }
        switch pending.removeValue(forKey: correlation) {
        case .batch(let batch):
            if code == ErrorCode.draining.rawValue {
                // It was not taken, and will be after the reconnect.
                requeue(batch)
                return error
            }
            finish(batch, .failure(error))
        case .question(let asked): resumptions.append(.answer(asked.promise, .failure(error)))
        case .subscribe(let id):
            if error.isRetryable { return error }
            failConsumer(id, error)
        case .settle(let id, let batch): refusedSettling(id, batch, error)
        case .unsubscribe, .keepAlive, nil: break
        }
        return nil
    }
}
