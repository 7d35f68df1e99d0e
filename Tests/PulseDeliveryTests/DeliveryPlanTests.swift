// Plans: from an envelope, a template and the settings to what is done.

import PulseCore
import PulseDelivery
import Testing

@Suite("Delivery plan") struct DeliveryPlanTests {
    let id = MailMessageTests.id
    let now = WallTimestamp(milliseconds: 1_795_168_083_120)
    let created = WallTimestamp(milliseconds: 1_795_168_000_000)

    func smtp() throws -> ProviderSettings {
        ProviderSettings(
            email: .smtp(
                SMTPEndpoint(host: "mail.example.org", port: 25, security: .starttls),
                from: try #require(Mailbox("Pulse <pulse@example.org>")),
                timeoutMilliseconds: 9000
            ),
            webhook: .http(allowsPrivateAddresses: true, timeoutMilliseconds: 8000),
            userAgent: "pulse/1.2.3"
        )
    }

    func plan(
        _ channel: Channel,
        template: Template? = nil,
        settings: ProviderSettings = .catchers,
        attempt: Int = 1,
        _ fill: (inout EnvelopeWriter) -> Void
    ) throws -> DeliveryPlan {
        var writer = EnvelopeWriter()
        fill(&writer)
        return try writer.bytes.withUnsafeBytes {
            DeliveryPlan.make(
                id: id,
                channel: channel,
                envelope: try #require(Envelope($0)),
                template: template,
                settings: settings,
                attempt: attempt,
                createdAt: created,
                now: now
            )
        }
    }

    @Test("Email through SMTP: one message to one recipient")
    func email() throws {
        let template = try Template(
            TemplateSource(
                name: "hi",
                channel: .email,
                subject: "Hi {{name}}",
                text: "T {{name}}",
                html: "<b>{{name}}</b>"
            )
        )
        let plan = try plan(.email, template: template, settings: smtp()) {
            $0.append(.user, "u1")
            $0.append(.address, "ann@example.com")
            $0.append(.template, "hi")
            $0.append(datum: "name", "A&B\r\nBcc: evil@example.org")
        }
        guard case .call(.smtp(let request)) = plan else {
            Issue.record("\(plan)")
            return
        }
        #expect(request.endpoint.host == "mail.example.org")
        #expect(request.sender == "pulse@example.org")
        #expect(request.recipient == "ann@example.com")
        #expect(request.timeoutMilliseconds == 9000)
        let read = ReadMail(request.message)
        #expect(read.complaints.isEmpty)
        #expect(read.values("subject") == ["Hi A&B Bcc: evil@example.org"])
        #expect(read.values("bcc").isEmpty)
        #expect(
            read.parts.map(\.body) == [
                "T A&B\nBcc: evil@example.org\n", "<b>A&amp;B\nBcc: evil@example.org</b>\n",
            ]
        )
    }

    @Test("Webhook: the document and the headers")
    func webhook() throws {
        let plan = try plan(.webhook, settings: smtp(), attempt: 3) {
            $0.append(.user, "u1")
            $0.append(.address, "https://example.org/hook?token=secret")
            $0.append(.subject, "S")
            $0.append(.text, "a \"b\" \\ \n\t\u{1} å")
            $0.append(datum: "k", "1")
            $0.append(datum: "k", "2")
            $0.append(datum: "l", "")
        }
        guard case .call(.http(let request)) = plan else {
            Issue.record("\(plan)")
            return
        }
        #expect(request.url == "https://example.org/hook?token=secret")
        #expect(request.allowsPrivateAddresses)
        #expect(request.timeoutMilliseconds == 8000)
        #expect(
            request.headers.map { "\($0.name): \($0.value)" } == [
                "content-type: application/json",
                "webhook-id: 01234567-89ab-8001-8400-000000000001",
                "webhook-timestamp: 1795168083", "user-agent: pulse/1.2.3",
            ]
        )
        let expected =
            #"{"id":"01234567-89ab-8001-8400-000000000001","type":"notification","#
            + #""channel":"webhook","template":"","user":"u1","subject":"S","#
            + #""text":"a \"b\" \\ \n\t\u0001 å","html":"","data":{"k":"2","l":""},"attempt":3,"#
            + #""created_at":"2026-11-20T09:46:40.000Z"}"#
        #expect(String(decoding: request.body, as: UTF8.self) == expected)
    }

    @Test("The catcher keeps what would have been sent")
    func catcher() throws {
        let plan = try plan(.sms, attempt: 2) {
            $0.append(.user, "u1")
            $0.append(.address, "abc-1@bench.local")
            $0.append(.text, "code 1")
        }
        guard case .catch(let caught) = plan else {
            Issue.record("\(plan)")
            return
        }
        #expect(
            caught
                == CaughtNotification(
                    id: id,
                    channel: .sms,
                    user: "u1",
                    to: "abc-1@bench.local",
                    subject: "",
                    text: "code 1",
                    html: "",
                    attempt: 2,
                    at: now
                )
        )
    }

    @Test("Push: the device token is the address and the title the subject")
    func push() throws {
        let template = try Template(
            TemplateSource(name: "p", channel: .push, subject: "Default", text: "T")
        )
        func caught(_ fill: (inout EnvelopeWriter) -> Void) throws -> CaughtNotification? {
            let plan = try plan(.push, template: template) {
                $0.append(.template, "p")
                fill(&$0)
            }
            guard case .catch(let caught) = plan else { return nil }
            return caught
        }
        let full = try caught {
            $0.append(.address, "a")
            $0.append(.deviceToken, "t")
            $0.append(.title, "Title")
        }
        #expect(full?.to == "t")
        #expect(full?.subject == "Title")
        let plain = try caught { $0.append(.address, "a") }
        #expect(plain?.to == "a")
        #expect(plain?.subject == "Default")
    }

    @Test("The envelope's own parts replace the template's")
    func literalParts() throws {
        let template = try Template(
            TemplateSource(name: "e", channel: .email, subject: "S", text: "T", html: "H")
        )
        let plan = try plan(.email, template: template) {
            $0.append(.address, "a@b")
            $0.append(.template, "e")
            $0.append(.text, "own {{x}}")
        }
        guard case .catch(let caught) = plan else {
            Issue.record("\(plan)")
            return
        }
        #expect(caught.subject == "S")
        #expect(caught.text == "own {{x}}")
        #expect(caught.html == "H")
    }

    @Test("What can never be delivered says why")
    func payloadBad() throws {
        func reason(
            _ channel: Channel,
            template: Template? = nil,
            _ fill: (inout EnvelopeWriter) -> Void
        ) throws -> String? {
            guard case .payloadBad(let reason) = try plan(channel, template: template, fill) else {
                return nil
            }
            return reason
        }
        #expect(
            try reason(.email) { $0.append(.text, "t") } == "address: must not be empty"
        )
        #expect(
            try reason(.email) {
                $0.append(.address, "a@b\r\nRCPT TO:<c@d>")
                $0.append(.text, "t")
            }?.hasPrefix("address: ") == true
        )
        #expect(
            try reason(.webhook) {
                $0.append(.address, "ftp://x")
                $0.append(.text, "t")
            } == "address: a webhook URL begins with https:// or http://"
        )
        #expect(
            try reason(.sms) { $0.append(.address, "1") } == "the notification has no content"
        )
        #expect(
            try reason(.sms) {
                $0.append(.address, "1")
                $0.append(.template, "gone\n")
            } == "template \"gone \" does not exist any more"
        )
        let template = try Template(
            TemplateSource(name: "s", channel: .sms, text: "{{a}}{{b}}{{a}}")
        )
        #expect(
            try reason(.sms, template: template) {
                $0.append(.address, "1")
                $0.append(.template, "s")
            } == "missing template variables: a, b"
        )
    }

    @Test("A channel without a provider has a plan of its own", arguments: Channel.allCases)
    func noProvider(channel: Channel) throws {
        let addresses: [Channel: String] = [
            .email: "a@b", .webhook: "http://x", .sms: "12345", .push: "t",
        ]
        let plan = try plan(channel, settings: ProviderSettings()) {
            $0.append(.address, addresses[channel] ?? "")
            $0.append(.text, "t")
        }
        guard case .noProvider = plan else {
            Issue.record("\(plan)")
            return
        }
    }
}
