// What mail servers say to us, line by line.

import PulseDelivery
import PulseIO

extension FuzzTarget {
    /// - Any lines are followed; line ends make no difference.
    static let mail = FuzzTarget(
        name: "mail",
        inputBytesMax: 1024,
        check: { bytes in
            var draw = Draw(bytes)
            let dials = draw.byte()
            let securities: [SMTPEndpoint.Security] = [.none, .starttls, .implicit]
            let security = securities[Int(dials >> 1) % 3]
            var bare = SMTPDialogue(security: security, needsAuthentication: dials & 1 == 1)
            var ended = bare
            for line in draw.rest().split(separator: 10, omittingEmptySubsequences: false) {
                let text = Array(line.prefix { $0 != 13 })
                let first = text.withUnsafeBytes { bare.receive($0) }
                let second = (text + [13, 10]).withUnsafeBytes { ended.receive($0) }
                try require(first == second, "a line end means nothing")
                try require(bare.stage == ended.stage, "the stage follows from the lines")
                try require(bare.code == ended.code, "the code follows from the lines")
                try require((0...999).contains(bare.code), "a reply code has three digits")
                try require(bare.line == ended.line, "the text is without its line end")
            }
        },
        seeds: {
            [
                "\u{0}220 hi\n250-a\n250 AUTH PLAIN\n250 ok\n250 ok\n354 go\n250 queued",
                "\u{3}220 hi\n250-a\n250 STARTTLS\n220 go\n250-AUTH=LOGIN\n250 ok\n235 in\n451 later",
                "\u{5}220-x\n220 y\n250 SIZE\n550 no\n421 bye",
            ].map { Array($0.utf8) }
        }
    )
}
