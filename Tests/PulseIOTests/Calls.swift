// A provider caller in a loop, for tests: start a call, turn until it is answered.

import PulseCore
import PulseDelivery
import PulseIO
import Testing

final class Calls {
    let rig: LoopRig
    let caller: ProviderCaller
    private let box = Box()
    private var next: UInt64 = 1 << 40

    private final class Box {
        var answers: [CallID: ProviderAnswer] = [:]
        var longestTurn: Int64 = 0
    }

    var answers: [CallID: ProviderAnswer] { box.answers }
    /// From the end of a wait to the end of its turn, at most.
    var longestTurnMilliseconds: Int64 { box.longestTurn }

    init(_ options: ProviderCaller.Options = ProviderCaller.Options()) throws {
        let rig = try LoopRig()
        let box = box
        self.rig = rig
        caller = ProviderCaller(loop: rig.loop, options: options) { call, answer in
            #expect(box.answers[call] == nil, "a call is answered once")
            box.answers[call] = answer
        }
        rig.onTurnEnd = { [unowned rig] in
            let spent = SystemClocks.monotonic().milliseconds(since: rig.loop.now.monotonic)
            box.longestTurn = max(box.longestTurn, spent)
        }
    }

    deinit { caller.close() }

    func start(_ call: CallID, _ request: ProviderRequest) { caller.start(call, request) }

    /// Starts a call and waits for its answer.
    func answer(to request: ProviderRequest) throws -> ProviderAnswer? {
        next += 1
        let call = CallID(next)
        caller.start(call, request)
        #expect(answers[call] == nil, "an answer comes in a later turn")
        _ = try rig.run { answers[call] != nil }
        return answers[call]
    }

    func mail(
        to port: UInt16,
        message: String = "Subject: hello\r\n\r\nbody\r\n",
        recipient: String = "to@example.org",
        security: SMTPEndpoint.Security = .none,
        credentials: (user: String, password: String)? = nil,
        timeoutMilliseconds: Int64 = 1500
    ) throws -> ProviderAnswer? {
        var request = Self.mail(to: port)
        request.message = Array(message.utf8)
        request.recipient = recipient
        request.endpoint.security = security
        request.endpoint.credentials = credentials
        request.timeoutMilliseconds = timeoutMilliseconds
        return try answer(to: .smtp(request))
    }

    static func mail(to port: UInt16) -> SMTPRequest {
        SMTPRequest(
            endpoint: SMTPEndpoint(host: "127.0.0.1", port: port, security: .none),
            sender: "from@example.org",
            recipient: "to@example.org",
            message: Array("Subject: hello\r\n\r\nbody\r\n".utf8),
            timeoutMilliseconds: 1500
        )
    }

    func post(
        _ url: String,
        body: String = "{}",
        headers: [(name: String, value: String)] = [],
        allowsPrivateAddresses: Bool = true,
        timeoutMilliseconds: Int64 = 1500
    ) throws -> ProviderAnswer? {
        try answer(
            to: .http(
                HTTPRequest(
                    url: url,
                    headers: headers,
                    body: Array(body.utf8),
                    allowsPrivateAddresses: allowsPrivateAddresses,
                    timeoutMilliseconds: timeoutMilliseconds
                )
            )
        )
    }
}
