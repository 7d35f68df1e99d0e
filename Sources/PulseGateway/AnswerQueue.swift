// Answers put back into the order of the requests.

import PulseCore

/// What was asked on a connection and not yet answered to the client, oldest first.
///
/// Always true: slots are consecutive, and the first exchange has no answer yet, because an answer
/// whose turn it is leaves at once.
struct AnswerQueue {
    /// A request on its way to its answer.
    private struct Exchange {
        /// HEAD: the length is told, the body is not sent.
        var omitsBody: Bool
        /// The connection ends with this answer.
        var closes: Bool
        /// The answer, when it came before its turn.
        var answer: [UInt8]?
    }

    private var exchanges: [Exchange] = []
    private var firstSlot: UInt32 = 0

    var count: Int { exchanges.count }
    var isEmpty: Bool { exchanges.isEmpty }

    /// Adds a request; answers its slot.
    mutating func add(omitsBody: Bool, closes: Bool) -> UInt32 {
        exchanges.append(Exchange(omitsBody: omitsBody, closes: closes, answer: nil))
        return firstSlot &+ UInt32(exchanges.count - 1)
    }

    /// Answers the request in `slot`; appends all whose turn it now is.
    ///
    /// - Returns: Whether an answer left that ends the connection.
    mutating func answer(
        _ slot: UInt32,
        _ response: borrowing HTTPResponse,
        output: inout [UInt8]
    ) -> Bool {
        let index = Int(slot &- firstSlot)
        precondition(index < exchanges.count, "slot \(slot) waits for no answer")
        let exchange = exchanges[index]
        precondition(exchange.answer == nil, "slot \(slot) is answered twice")
        guard index == 0 else {
            var answer: [UInt8] = []
            response.write(to: &answer, closes: exchange.closes, omitsBody: exchange.omitsBody)
            exchanges[index].answer = answer
            return false
        }
        response.write(to: &output, closes: exchange.closes, omitsBody: exchange.omitsBody)
        var sent = 1
        var closing = exchange.closes
        while sent < exchanges.count, !closing, let answer = exchanges[sent].answer {
            output.append(contentsOf: answer)
            closing = exchanges[sent].closes
            sent += 1
        }
        exchanges.removeFirst(sent)
        firstSlot &+= UInt32(sent)
        return closing
    }

    /// Ends the connection with the last answer that is still owed.
    mutating func closeAfterLast() {
        precondition(!exchanges.isEmpty, "an answer is owed")
        exchanges[exchanges.count - 1].closes = true
    }
}
