// The parts of the provider caller that only decide: addresses and mail dialogues.

import PulseCore
import PulseDelivery
import PulseIO
import Testing

@Suite struct ProviderRuleTests {
    @Test(
        arguments: [
            (0x0808_0808, true), (0x0101_0101, true), (0xAC0F_FFFF, true), (0xAC20_0000, true),
            (0x6440_0000, false), (0x647F_FFFF, false), (0x6480_0000, true), (0x0A00_0001, false),
            (0x7F00_0001, false), (0xAC10_0000, false), (0xAC1F_FFFF, false), (0xC0A8_0001, false),
            (0xA9FE_A9FE, false), (0, false), (0xE000_0001, false), (0xFFFF_FFFF, false),
            (0xC612_0001, false), (0xC614_0001, true),
        ] as [(UInt32, Bool)]
    )
    func theV4AddressesInsideAreNotPublic(address: UInt32, isPublic: Bool) {
        #expect(PublicAddress.includes(v4: address) == isPublic)
    }

    @Test(arguments: [
        ("20010db8000000000000000000000001", false), ("26064700000000000000000000001111", true),
        ("00000000000000000000000000000001", false), ("00000000000000000000000000000000", false),
        ("00000000000000000000ffff08080808", true), ("00000000000000000000ffff7f000001", false),
        ("000000000000000000000000 08080808", false), ("0064ff9b0000000000000000 08080808", true),
        ("0064ff9b0000000000000000 0a000001", false), ("0064ff9b0001000000000000 08080808", false),
        ("2002 7f000001 00000000000000000000", false), ("2002 08080808 00000000000000000000", true),
        ("fe800000000000000000000000000001", false), ("fc000000000000000000000000000001", false),
        ("fd000000000000000000000000000001", false), ("ff020000000000000000000000000001", false),
        ("20010000000000000000000000000001", false), ("20014860000000000000000000008888", true),
    ])
    func theV6FormsOfInsideAreNotPublic(hex: String, isPublic: Bool) throws {
        let digits = hex.compactMap(\.hexDigitValue)
        let bytes = stride(from: 0, to: 32, by: 2).map { UInt8(digits[$0] * 16 + digits[$0 + 1]) }
        #expect(PublicAddress.includes(v6: bytes) == isPublic)
    }

    @Test func aPlainDialogueReachesItsEnvelope() {
        var dialogue = SMTPDialogue(security: .none, needsAuthentication: false)
        #expect(dialogue.hear("220 hello") == .nothing)
        #expect(dialogue.stage == .hello)
        #expect(dialogue.hear("250-test") == .nothing)
        #expect(dialogue.hear("250 SIZE") == .nothing)
        #expect(dialogue.stage == .envelope)
        #expect(dialogue.hear("250 sender") == .nothing)
        #expect(dialogue.hear("550 5.1.1 no") == .refused)
        #expect(dialogue.code == 550)
    }

    @Test func aPooledConnectionBeginsWithItsEnvelope() {
        var dialogue = SMTPDialogue(security: .starttls, needsAuthentication: true)
        #expect(dialogue.hear("250 sender ok") == .nothing)
        #expect(dialogue.stage == .envelope)
    }

    @Test func authIsExpectedOnlyBehindTLS() {
        var dialogue = SMTPDialogue(security: .starttls, needsAuthentication: true)
        for line in ["220 hello", "250-test", "250 STARTTLS", "220 go", "250-test"] {
            #expect(dialogue.hear(line) == .nothing)
        }
        #expect(dialogue.stage == .secureHello)
        #expect(dialogue.hear("250 AUTH PLAIN") == .nothing)
        #expect(dialogue.stage == .authentication)
        #expect(dialogue.hear("334 ") == .nothing)
        #expect(dialogue.hear("235 welcome") == .nothing)
        #expect(dialogue.stage == .envelope)
    }

    @Test func credentialsWithoutAuthEndTheDialogueBeforeTheMail() {
        // Offered before TLS does not count: the hello behind it is the one that holds.
        var late = SMTPDialogue(security: .starttls, needsAuthentication: true)
        for line in ["220 hello", "250-AUTH PLAIN", "250 STARTTLS", "220 go", "250-test"] {
            #expect(late.hear(line) == .nothing)
        }
        #expect(late.hear("250 SIZE") == .noAuthentication)

        var old = SMTPDialogue(security: .implicit, needsAuthentication: true)
        #expect(old.hear("220 hello") == .nothing)
        #expect(old.hear("502 no EHLO here") == .noAuthentication)
    }

    @Test func aDetailIsShortPrintableAndWhole() {
        #expect(AnswerDetail.text(Array("a\r\nb".utf8)) == "a  b")
        let long = AnswerDetail.text(Array(("x" + String(repeating: "é", count: 150)).utf8))
        #expect(long == "x" + String(repeating: "é", count: 99))
        #expect(AnswerDetail.text([UInt8](repeating: 0xFF, count: 300)).utf8.count <= 200)
    }
}

extension SMTPDialogue {
    fileprivate mutating func hear(_ line: String) -> Event {
        Array((line + "\r\n").utf8).withUnsafeBytes { receive($0) }
    }
}
