// Mail: written by MailMessage, read back by an independent reader, with hostile values.

import PulseCore
import PulseDelivery
import Testing

@Suite("Mail") struct MailMessageTests {
    static let id = NotificationID(high: 0x0123_4567_89AB_8001, low: 0x8400_0000_0000_0001)

    func mail(
        from: String = "Pulse <pulse@example.org>",
        to: String = "ann@example.com",
        subject: String = "Hi",
        text: String = "",
        html: String = ""
    ) throws -> MailMessage {
        MailMessage(
            id: Self.id,
            from: try #require(Mailbox(from)),
            recipient: to,
            content: RenderedContent(subject: subject, text: text, html: html),
            date: WallTimestamp(milliseconds: 1_795_168_083_120)
        )
    }

    @Test("A plain message, byte for byte")
    func golden() throws {
        let expected = [
            "From: Pulse", " <pulse@example.org>", "To: ann@example.com", "Subject: Hi",
            "Date: Fri, 20 Nov 2026 09:48:03 +0000",
            "Message-ID: <01234567-89ab-8001-8400-000000000001@example.org>",
            "Auto-Submitted: auto-generated",
            "X-Pulse-Notification-Id: 01234567-89ab-8001-8400-000000000001", "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: quoted-printable", "", "a =3D b", ".", "From x=20", "",
        ].joined(separator: "\r\n")
        #expect(
            String(decoding: try mail(text: "a = b\n.\nFrom x ").bytes, as: UTF8.self) == expected
        )
    }

    @Test("Both parts make an alternative, plain text first")
    func alternative() throws {
        let read = ReadMail(try mail(text: "Hej då\r\n", html: "<p>Hej då</p>\n").bytes)
        #expect(read.complaints.isEmpty)
        #expect(read.values("content-type").first?.hasPrefix("multipart/alternative") == true)
        #expect(
            read.parts.map { $0.values("content-type").first } == [
                "text/plain; charset=utf-8", "text/html; charset=utf-8",
            ]
        )
        #expect(read.parts.map(\.body) == ["Hej då\n", "<p>Hej då</p>\n"])
    }

    @Test(
        "No value starts a header or ends the headers",
        arguments: [
            "x\r\nBcc: evil@example.org", "x\nBcc: evil@example.org", "x\rBcc: evil@example.org",
            "x\r\n\r\n<script>", "\r\nBcc: evil@example.org", "x\u{2028}Bcc: evil@example.org",
            "x\u{85}Bcc: e@e", "å\r\nBcc: evil@example.org", "x\u{0}y\u{1B}[0m",
        ]
    )
    func injection(_ hostile: String) throws {
        let read = ReadMail(
            try mail(subject: hostile, text: hostile, html: hostile).bytes
        )
        #expect(read.complaints.isEmpty)
        #expect(
            read.headers.map(\.name) == [
                "from", "to", "subject", "date", "message-id", "auto-submitted",
                "x-pulse-notification-id", "mime-version", "content-type",
            ]
        )
        #expect(read.parts.count == 2)
        #expect(read.parts.allSatisfy { $0.headers.count == 2 })
    }

    @Test(
        "Subjects come back as they were",
        arguments: [
            "Order 1234 (shipped): \"box\", 50 % off!", "Ärende", "日本語の件名です",
            "=?UTF-8?B?SGk=?=", "a" + String(repeating: " long subject", count: 60),
            String(repeating: "👩‍👩‍👧", count: 30), String(repeating: "x", count: 998),
        ]
    )
    func subjects(_ subject: String) throws {
        let read = ReadMail(try mail(subject: subject, text: "t").bytes)
        #expect(read.complaints.isEmpty)
        #expect(read.values("subject") == [subject])
    }

    @Test("A subject is cut at its limit, at a character")
    func longSubject() throws {
        let read = ReadMail(try mail(subject: String(repeating: "å", count: 5000), text: "t").bytes)
        #expect(read.values("subject") == [String(repeating: "å", count: 499)])
        #expect(ReadMail(try mail(subject: "", text: "t").bytes).values("subject").isEmpty)
    }

    @Test(
        "Bodies come back as they were, with one kind of line end",
        arguments: [
            "one line", "a\n", "a\n\nb\n", "trailing blank \nand tab\t\n",
            "a = b =3D =\n", ".\n..\n.x\n", "--=_pulse_01234567-89ab-8001-8400-000000000001--\nx",
            "=_pulse_01234567-89ab-8001-8400-000000000001", String(repeating: "a", count: 5000),
            String(repeating: "word ", count: 400), String(repeating: "日本語", count: 700),
            "мир\n" + String(repeating: "мир ", count: 300), "nul \u{0} bell \u{7} esc \u{1B}",
            String(repeating: "=", count: 200), String(repeating: " ", count: 200),
            String(repeating: "aé", count: 200),
        ]
    )
    func bodies(_ text: String) throws {
        for (plain, html) in [(text, ""), ("", text), (text, "<p>x</p>"), ("x", text)] {
            let read = ReadMail(try mail(text: plain, html: html).bytes)
            #expect(read.complaints.isEmpty)
            let expected = text.hasSuffix("\n") ? text : text + "\n"
            let bodies = read.parts.isEmpty ? [read.body] : read.parts.map(\.body)
            #expect(bodies.contains { $0 == expected || $0 + "\n" == expected })
        }
    }

    @Test("Every kind of line end becomes CRLF")
    func lineEnds() throws {
        let read = ReadMail(try mail(text: "a\rb\nc\r\nd\n\re").bytes)
        #expect(read.complaints.isEmpty)
        #expect(read.body == "a\nb\nc\nd\n\ne\n")
    }

    @Test(
        "Display names are words or encoded words",
        arguments: ["Pulse", "Åsa Öberg", "Ek, Åsa", "A \"B\" C", "x@y", "Acme Inc."]
    )
    func displayNames(name: String) throws {
        let read = ReadMail(try mail(from: "\(name) <p@example.org>", text: "t").bytes)
        #expect(read.complaints.isEmpty)
        #expect(read.values("from") == ["\(name) <p@example.org>"])
    }

    @Test(
        "Dates",
        arguments: [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
            (951_782_400_000, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_795_168_083_120, "Fri, 20 Nov 2026 09:48:03 +0000"),
            (-1, "Wed, 31 Dec 1969 23:59:59 +0000"),
        ] as [(Int64, String)]
    )
    func dates(milliseconds: Int64, expected: String) throws {
        var message = try mail(text: "t")
        message.date = WallTimestamp(milliseconds: milliseconds)
        #expect(ReadMail(message.bytes).values("date") == [expected])
    }
}
