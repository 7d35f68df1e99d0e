// A mail server that keeps to a script and keeps what it was sent.

import PulseIO
import Synchronization

/// What a mail server answers to each command; an empty answer is silence.
struct MailScript: Sendable {
    var greeting = "220 test ready"
    var hello = "250-test\r\n250-8BITMIME\r\n250 SIZE 1000000"
    var sender = "250 sender ok"
    var recipient = "250 recipient ok"
    var data = "354 go on"
    var message = "250 2.0.0 queued"
    /// Hang up instead of answering the message.
    var hangsUpAfterMessage = false

    enum Part: Sendable { case sender, recipient, data, message }

    mutating func set(_ part: Part, to reply: String) {
        switch part {
        case .sender: sender = reply
        case .recipient: recipient = reply
        case .data: data = reply
        case .message: message = reply
        }
    }
}

/// A mail server with a script; keeps the messages it accepted, dots unstuffed.
final class MailServer: Sendable {
    private let received = Box()
    private let server: ScriptedServer

    private final class Box: Sendable {
        let messages = Mutex<[String]>([])
        let commands = Mutex<[String]>([])
    }

    var port: UInt16 { server.port }
    var connections: Int { server.connections }
    var messages: [String] { received.messages.withLock { $0 } }
    var commands: [String] { received.commands.withLock { $0 } }

    init(_ script: MailScript = MailScript()) throws {
        let received = received
        server = try ScriptedServer { Self.talk($0, script, received) }
    }

    func stop() { server.stop() }
    func hangUp() { server.hangUp() }

    private static func talk(
        _ peer: ScriptedConversation,
        _ script: MailScript,
        _ received: Box
    ) {
        func answer(_ text: String) {
            if text.isEmpty { peer.hang() } else { peer.say(text + "\r\n") }
        }
        answer(script.greeting)
        while let line = peer.line() {
            received.commands.withLock { $0.append(line) }
            switch line.prefix(4).uppercased() {
            case "EHLO": answer(script.hello)
            case "HELO": answer("250 test")
            case "MAIL": answer(script.sender)
            case "RCPT": answer(script.recipient)
            case "DATA":
                answer(script.data)
                guard script.data.hasPrefix("354") else { continue }
                var message = ""
                while let text = peer.line(), text != "." {
                    message += (text.hasPrefix(".") ? String(text.dropFirst()) : text) + "\r\n"
                }
                if script.hangsUpAfterMessage { return }
                if script.message.hasPrefix("250") {
                    received.messages.withLock { $0.append(message) }
                }
                answer(script.message)
            // A refused client is left waiting for its farewell: it must not wait.
            case "QUIT": peer.hang()
            default: answer("502 what?")
            }
        }
    }
}
