// Mail on threads of its own: a server that thinks holds up nobody but its own mail.

import Glibc
import PulseCore
import PulseDelivery
import PulseIO
import Synchronization
import Testing

@Suite struct MailCallerTests {
    private func mail(to port: UInt16) -> ProviderRequest {
        .smtp(
            SMTPRequest(
                endpoint: SMTPEndpoint(host: "127.0.0.1", port: port, security: .none),
                sender: "from@example.org",
                recipient: "to@example.org",
                message: Array("Subject: s\r\n\r\ntext\r\n".utf8),
                timeoutMilliseconds: 1200
            )
        )
    }

    @Test func aServerThatDoesNotAnswerHoldsUpNobodyElse() throws {
        var script = MailScript()
        script.set(.message, to: "")
        let silent = try MailServer(script)
        let prompt = try MailServer()
        defer {
            silent.stop()
            prompt.stop()
        }
        let rig = try LoopRig()
        var order: [UInt64] = []
        let caller = try MailCaller(loop: rig.loop, threadsMax: 2) { call, _ in
            order.append(call.rawValue)
        }
        caller.start(CallID(1), mail(to: silent.port))
        caller.start(CallID(2), mail(to: prompt.port))
        caller.start(CallID(3), mail(to: prompt.port))
        #expect(try rig.run { order.count == 3 })
        #expect(order == [2, 3, 1], "the silent server's mail is the last to be answered")
        #expect(prompt.messages.count == 2)
        caller.close()
    }

    /// Loops of mail threads: each says whether the next one can be made.
    private final class Loops: Sendable {
        private let left: Mutex<[Bool]>

        init(_ made: [Bool]) { left = Mutex(made) }

        func make() throws(IOFailure) -> EventLoop {
            let isMade = left.withLock { $0.isEmpty || $0.removeFirst() }
            guard isMade else { throw IOFailure("create an event queue", code: EMFILE) }
            return try EventLoop()
        }
    }

    /// For a moment there are no descriptors: what was asked then is answered, and what is asked later is
    /// served, with as many threads as ever.
    @Test func threadsThatBreakAreReplaced() throws {
        let server = try MailServer()
        defer { server.stop() }
        let rig = try LoopRig()
        let loops = Loops([false, false])
        var answers: [(call: UInt64, answer: ProviderAnswer)] = []
        let caller = try MailCaller(
            loop: rig.loop,
            threadsMax: 2,
            makeLoop: { () throws(IOFailure) in try loops.make() }
        ) { answers.append(($0.rawValue, $1)) }
        for number: UInt64 in 1...5 { caller.start(CallID(number), mail(to: server.port)) }
        #expect(try rig.run { answers.count == 5 })
        for (call, answer) in answers {
            guard case .notSent = answer else {
                Issue.record("call \(call): \(answer)")
                continue
            }
        }
        for number: UInt64 in 6...9 { caller.start(CallID(number), mail(to: server.port)) }
        #expect(try rig.run { answers.count == 9 })
        #expect(server.messages.count == 4)
        #expect(server.connections == 2, "both threads are there again")
        caller.close()
    }

    /// A thread that cannot be made costs no attempt while there is another.
    @Test func aCallWhoseThreadBreaksWaitsForAnother() throws {
        let server = try MailServer()
        defer { server.stop() }
        let rig = try LoopRig()
        let loops = Loops([true, false])
        var answers: [ProviderAnswer] = []
        let caller = try MailCaller(
            loop: rig.loop,
            threadsMax: 2,
            makeLoop: { () throws(IOFailure) in try loops.make() }
        ) { answers.append($1) }
        for number: UInt64 in 1...3 { caller.start(CallID(number), mail(to: server.port)) }
        #expect(try rig.run { answers.count == 3 })
        #expect(server.messages.count == 3)
        caller.close()
    }

    @Test func oneThreadServesAllInOrderOverOneConnection() throws {
        let server = try MailServer()
        defer { server.stop() }
        let rig = try LoopRig()
        var order: [UInt64] = []
        let caller = try MailCaller(loop: rig.loop, threadsMax: 1) { call, answer in
            order.append(call.rawValue)
            guard case .answered(250, _, _) = answer else {
                Issue.record("call \(call.rawValue): \(answer)")
                return
            }
        }
        for number: UInt64 in 1...20 { caller.start(CallID(number), mail(to: server.port)) }
        #expect(try rig.run { order.count == 20 })
        #expect(order == Array(1...20))
        #expect(server.connections == 1)
        caller.close()
    }
}
