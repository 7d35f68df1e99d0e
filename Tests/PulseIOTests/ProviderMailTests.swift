// Mail through libcurl to a scripted server: every row of the outcome table.

import PulseCore
import PulseDelivery
import PulseIO
import Testing

@Suite struct ProviderMailTests {
    @Test func anAcceptedMailArrivesAsItWas() throws {
        let server = try MailServer()
        defer { server.stop() }
        let message = "Subject: dots\r\n\r\n.\r\n..two\r\nend."
        let answer = try Calls().mail(to: server.port, message: message)

        #expect(
            answer == .answered(code: 250, detail: "250 2.0.0 queued", retryAfterSeconds: nil)
        )
        #expect(server.messages == [message + "\r\n"])
        #expect(server.commands.contains { $0.hasPrefix("MAIL FROM:<from@example.org>") })
        #expect(server.commands.contains("RCPT TO:<to@example.org>"))
    }

    @Test func aMessageThatBeginsWithADotKeepsIt() throws {
        let server = try MailServer()
        defer { server.stop() }
        _ = try Calls().mail(to: server.port, message: ".first\r\nlast\r\n")
        #expect(server.messages == [".first\r\nlast\r\n"])
    }

    @Test(
        arguments: [
            (.recipient, 550, "550 5.1.1 no such user"),
            (.recipient, 451, "451 4.2.1 try later"),
            (.recipient, 421, "421 4.3.2 going down"),
            (.sender, 553, "553 5.1.8 not your domain"),
            (.data, 554, "554 5.7.1 no"),
            (.message, 554, "554 5.6.0 bad content"),
            (.message, 452, "452 4.2.2 mailbox full"),
            (.message, 421, "421 4.3.2 going down"),
        ] as [(MailScript.Part, Int, String)]
    )
    func aRefusalIsAnAnswerAndDoesNotStopTheLoop(
        part: MailScript.Part,
        code: Int,
        line: String
    ) throws {
        var script = MailScript()
        script.set(part, to: line)
        let server = try MailServer(script)
        defer { server.stop() }
        let calls = try Calls()
        let start = SystemClocks.monotonic()

        let answer = try calls.mail(to: server.port)

        #expect(answer == .answered(code: code, detail: line, retryAfterSeconds: nil))
        // The server never answers QUIT; waiting for that would take seconds.
        #expect(SystemClocks.monotonic().milliseconds(since: start) < 500)
        #expect(calls.longestTurnMilliseconds < 300)
    }

    @Test func theFirstLineOfALongReplyIsKept() throws {
        var script = MailScript()
        script.recipient = "550-5.1.1 first\r\n550 5.1.1 second"
        let server = try MailServer(script)
        defer { server.stop() }
        let answer = try Calls().mail(to: server.port)
        #expect(
            answer == .answered(code: 550, detail: "550-5.1.1 first", retryAfterSeconds: nil)
        )
    }

    @Test(arguments: ["554 5.7.1 your address is listed", "421 too busy"])
    func aRefusedGreetingIsNotARefusedMessage(greeting: String) throws {
        let server = try MailServer(MailScript(greeting: greeting))
        defer { server.stop() }
        let answer = try Calls().mail(to: server.port)
        #expect(answer == .notSent(reason: "the server refused: \(greeting)"))
    }

    @Test func nobodyListening() throws {
        let server = try MailServer()
        server.stop()
        let answer = try Calls().mail(to: server.port)
        guard case .notSent(let reason) = answer else {
            Issue.record("\(String(describing: answer))")
            return
        }
        #expect(reason.contains("127.0.0.1 port \(server.port)"))
    }

    @Test func silenceBeforeTheMessageIsNotSent() throws {
        for script in [MailScript(greeting: ""), MailScript(recipient: "")] {
            let server = try MailServer(script)
            defer { server.stop() }
            let answer = try Calls().mail(to: server.port, timeoutMilliseconds: 150)
            guard case .notSent = answer else {
                Issue.record("\(String(describing: answer))")
                return
            }
        }
    }

    @Test func silenceAfterTheMessageIsLost() throws {
        let server = try MailServer(MailScript(message: ""))
        defer { server.stop() }
        let answer = try Calls().mail(to: server.port, timeoutMilliseconds: 150)
        guard case .lost = answer else {
            Issue.record("\(String(describing: answer))")
            return
        }
    }

    @Test func hangingUpAfterTheMessageIsLost() throws {
        let server = try MailServer(MailScript(hangsUpAfterMessage: true))
        defer { server.stop() }
        let answer = try Calls().mail(to: server.port)
        guard case .lost = answer else {
            Issue.record("\(String(describing: answer))")
            return
        }
    }

    @Test func requiredTLSThatIsNotOfferedIsMisconfigured() throws {
        let server = try MailServer()
        defer { server.stop() }
        let answer = try Calls().mail(to: server.port, security: .starttls)
        #expect(
            answer
                == .misconfigured(reason: "TLS is required, but the server does not offer it")
        )
        #expect(server.messages.isEmpty)
    }

    @Test func aPooledPlainConnectionDoesNotServeAMailThatNeedsTLS() throws {
        let server = try MailServer()
        defer { server.stop() }
        let calls = try Calls()
        _ = try calls.mail(to: server.port)
        for security in [SMTPEndpoint.Security.starttls, .implicit] {
            _ = try calls.mail(to: server.port, security: security, timeoutMilliseconds: 300)
        }
        #expect(server.messages.count == 1)
    }

    @Test func credentialsWithoutTLSAreRefusedBeforeAnythingIsSaid() throws {
        let server = try MailServer()
        defer { server.stop() }
        let answer = try Calls().mail(to: server.port, credentials: ("user", "secret"))
        guard case .misconfigured = answer else {
            Issue.record("\(String(describing: answer))")
            return
        }
        #expect(server.connections == 0)
    }

    @Test(arguments: ["a@b>\r\nDATA", "a b@c", ""])
    func anAddressCannotCarryACommand(recipient: String) throws {
        let server = try MailServer()
        defer { server.stop() }
        let answer = try Calls().mail(to: server.port, recipient: recipient)
        #expect(answer == .forbidden(reason: "the recipient is no mail address"))
        #expect(server.connections == 0)
    }

    @Test func mailsShareAConnectionAndADeadOneIsReplaced() throws {
        let server = try MailServer()
        defer { server.stop() }
        let calls = try Calls()
        for _ in 0..<5 { _ = try calls.mail(to: server.port) }
        #expect(server.connections == 1)

        server.hangUp()
        let answer = try calls.mail(to: server.port)
        #expect(
            answer == .answered(code: 250, detail: "250 2.0.0 queued", retryAfterSeconds: nil)
        )
        #expect(server.connections == 2)
        #expect(server.messages.count == 6)
    }

    @Test func manyMailsAtOnceAreAllAnswered() throws {
        let server = try MailServer()
        defer { server.stop() }
        var options = ProviderCaller.Options()
        options.connectionsPerHost = 4
        let calls = try Calls(options)
        let start = SystemClocks.monotonic()
        let processor = SystemClocks.threadProcessorNanoseconds()
        for number in 0..<200 as Range<UInt64> {
            calls.start(CallID(number), .smtp(Calls.mail(to: server.port)))
        }
        #expect(try calls.rig.run { calls.answers.count == 200 })

        let milliseconds = SystemClocks.monotonic().milliseconds(since: start)
        let used = (SystemClocks.threadProcessorNanoseconds() - processor) / 200_000
        print("200 mails in \(milliseconds) ms, \(used) us of the loop's processor time each")
        #expect(server.messages.count == 200)
        #expect(server.connections <= 4)
        #expect(calls.caller.callsInFlight == 0)
    }
}
