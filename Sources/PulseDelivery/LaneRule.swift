// Which lane a notification takes when the request does not say.

package import PulseCore

package enum LaneRule {
    /// Words in a template's name that make it urgent: a code someone is waiting for.
    private static let urgentWords = ["otp", "verification", "2fa"]

    /// The requested lane, or `high` for templates whose name tells of a code, or `normal`.
    package static func lane(template name: String?, requested: Lane?) -> Lane {
        if let requested { return requested }
        guard let name = name?.lowercased() else { return .normal }
        return urgentWords.contains { contains(name, $0) } ? .high : .normal
    }

    private static func contains(_ text: String, _ word: String) -> Bool {
        let word = Array(word.utf8)
        var rest = Array(text.utf8)[...]
        while rest.count >= word.count {
            if rest.starts(with: word) { return true }
            rest.removeFirst()
        }
        return false
    }
}
