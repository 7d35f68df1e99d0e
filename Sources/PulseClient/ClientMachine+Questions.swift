// Questions with one answer, deadlines, and the small queue everything here waits in.

internal import PulseCore
internal import PulseWire

/// A request that changes nothing when it is asked twice; asked again after a reconnect.
enum Question: Sendable {
    case status(StatusRequest)
    case fetch(FetchRequest)
    case putTemplate(TemplateMessage)
    case listTemplates(after: String)
    case ping
}

enum Answer: Sendable {
    case status(StatusReply)
    case page(FetchPage)
    case templates(ListTemplatesReply)
    /// There is nothing to say but that it was done.
    case saved
}

struct AskedQuestion: Sendable {
    var question: Question
    var deadline: MonotonicInstant
    var promise: Promise<Answer>
}

extension ClientMachine {
    mutating func ask(
        _ question: Question,
        at now: MonotonicInstant,
        _ promise: Promise<Answer>
    ) {
        guard link != .closed else {
            resumptions.append(.answer(promise, .failure(.closed)))
            return
        }
        questions.append(
            AskedQuestion(question: question, deadline: deadline(from: now), promise: promise)
        )
    }

    func deadline(from now: MonotonicInstant) -> MonotonicInstant {
        now.advanced(byMilliseconds: configuration.requestTimeout.milliseconds)
    }

    mutating func flushQuestions() {
        while let asked = questions.popFirst() {
            let correlation: UInt32
            switch asked.question {
            case .status(let request):
                correlation = session.openRequest(.status)
                request.encode(correlation: correlation, into: &outgoing)
            case .fetch(let request):
                correlation = session.openRequest(.fetch)
                request.encode(correlation: correlation, into: &outgoing)
            case .putTemplate(let template):
                correlation = session.openRequest(.putTemplate)
                template.encode(correlation: correlation, into: &outgoing)
            case .listTemplates(let after):
                correlation = session.openRequest(.listTemplates)
                ListTemplatesRequest(after: after)
                    .encode(correlation: correlation, into: &outgoing)
            case .ping:
                correlation = session.openRequest(.ping)
                PingMessage.encode(correlation: correlation, into: &outgoing)
            }
            pending[correlation] = .question(asked)
        }
    }

    /// Fails what has waited too long. Queues are in deadline order, but for what was put back.
    mutating func expire(at now: MonotonicInstant) {
        while let asked = questions.first, asked.deadline <= now {
            _ = questions.popFirst()
            resumptions.append(.answer(asked.promise, .failure(timeout)))
        }
        expireQueued(at: now)
        for (correlation, item) in pending {
            switch item {
            case .batch(let batch) where batch.deadline <= now:
                pending[correlation] = nil
                finish(batch, .failure(timeout))
            case .question(let asked) where asked.deadline <= now:
                pending[correlation] = nil
                resumptions.append(.answer(asked.promise, .failure(timeout)))
            case .settle(let id, let batch) where batch.deadline <= now:
                pending[correlation] = nil
                refusedSettling(id, batch, timeout)
            case .batch, .question, .settle, .subscribe, .unsubscribe, .keepAlive: break
            }
        }
        for id in consumers.keys.sorted() { expireSettling(id, at: now) }
    }

    var timeout: ClientError {
        ClientError(
            .timedOut,
            "no answer within \(configuration.requestTimeout.milliseconds) ms; whether it "
                + "happened is unknown",
            isRetryable: true
        )
    }
}

/// First in, first out, with a way back to the front.
struct Queue<Element> {
    private var elements: [Element] = []
    private var head = 0

    var count: Int { elements.count - head }
    var isEmpty: Bool { head == elements.count }
    var first: Element? { isEmpty ? nil : elements[head] }

    mutating func append(_ element: Element) { elements.append(element) }

    /// Puts elements before all others; O(count).
    mutating func prepend(contentsOf front: some Collection<Element>) {
        elements.replaceSubrange(..<head, with: front)
        head = 0
    }

    mutating func prepend(_ element: Element) { prepend(contentsOf: CollectionOfOne(element)) }

    mutating func popFirst() -> Element? {
        guard !isEmpty else { return nil }
        defer {
            head += 1
            if head == elements.count {
                elements.removeAll(keepingCapacity: head <= 1024)
                head = 0
            } else if head >= 1024, head * 2 > elements.count {
                elements.removeSubrange(..<head)
                head = 0
            }
        }
        return elements[head]
    }
}
