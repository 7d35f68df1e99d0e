// The query of a list: names and values after the question mark.

import PulseCore

enum Query {
    /// Reads a list's parameters: user (`user_id` on system 000's path), channel, status, limit, cursor.
    ///
    /// On `/v1` anything else, or anything twice, is an error. On system 000's path others are
    /// ignored, and the last of several counts.
    static func list(
        _ query: UnsafeRawBufferPointer?,
        _ dialect: APIDialect
    ) -> APIRequest {
        var reader = ListReader(dialect: dialect)
        for (name, value) in pairs(query) { reader.read(name, value) }
        guard reader.errors.isEmpty else { return .answered(.invalid(reader.errors, dialect)) }
        // System 000 compares words it does not know with every row, and finds none.
        guard !reader.matchesNothing else { return .answered(.list([], next: nil, dialect)) }
        return .list(reader.list, dialect)
    }

    static func templates(
        _ query: UnsafeRawBufferPointer?,
        _ dialect: APIDialect
    ) -> APIRequest {
        var channel: Channel?
        for (name, value) in pairs(query) where name == "channel" {
            channel = value.flatMap(Channel.init(name:))
            guard channel == nil, value?.isEmpty != true else { continue }
            if dialect == .compatible { return .answered(.templates([], dialect)) }
            let error = FieldError(
                field: "channel",
                code: .unknownChannel,
                message: "must be one of email, sms, push, webhook"
            )
            return .answered(.invalid([error], dialect))
        }
        return .templates(channel: channel, dialect)
    }

    /// The decoded pairs; a value, or a name, that cannot be decoded is nil, or empty.
    private static func pairs(
        _ query: UnsafeRawBufferPointer?
    ) -> [(name: String, value: String?)] {
        var pairs: [(name: String, value: String?)] = []
        var rest = query
        while let text = rest {
            let (pair, after) = text.split(at: UInt8(ascii: "&"))
            rest = after
            guard !pair.isEmpty else { continue }
            let (name, value) = pair.split(at: UInt8(ascii: "="))
            pairs.append(
                (
                    name.percentDecoded(plusIsSpace: true) ?? "",
                    (value ?? name.slice(0, 0)).percentDecoded(plusIsSpace: true)
                )
            )
        }
        return pairs
    }
}

private struct ListReader {
    let dialect: APIDialect
    var list = ListQuery()
    var errors: [FieldError] = []
    var matchesNothing = false
    private var seen: [String] = []

    init(dialect: APIDialect) { self.dialect = dialect }

    mutating func read(_ name: String, _ value: String?) {
        if dialect == .v1 {
            guard !seen.contains(name) else {
                errors.refuse(name, "is given twice")
                return
            }
            seen.append(name)
        }
        guard let value else {
            errors.refuse(name, dialect == .v1 ? "is not properly encoded" : "Enter a valid value.")
            return
        }
        switch (name, dialect) {
        case ("user", .v1), ("user_id", .compatible): list.user = value.isEmpty ? nil : value
        case ("channel", _): readChannel(value)
        case ("status", _): readStatus(value)
        case ("limit", _): readLimit(value)
        case ("cursor", _): readCursor(value)
        case (_, .v1): errors.refuse(name, "is not a parameter of this request")
        case (_, .compatible): break
        }
    }

    private mutating func readChannel(_ value: String) {
        list.channel = Channel(name: value)
        guard list.channel == nil, dialect == .v1 || !value.isEmpty else { return }
        switch dialect {
        case .v1:
            errors.append(
                FieldError(
                    field: "channel",
                    code: .unknownChannel,
                    message: "must be one of email, sms, push, webhook"
                )
            )
        case .compatible: matchesNothing = true
        }
    }

    private mutating func readStatus(_ value: String) {
        switch dialect {
        case .v1:
            list.status = NotificationState(name: value).map(StatusFilter.state)
            if list.status == nil {
                let words = NotificationState.allCases.map(\.name).joined(separator: ", ")
                errors.refuse("status", "must be one of " + words)
            }
        case .compatible:
            list.status = CompatibleStatus(rawValue: value).map(StatusFilter.compatible)
            if list.status == nil, !value.isEmpty { matchesNothing = true }
        }
    }

    /// On /v1 a limit outside 1 to the maximum is an error; on system 000's path one above is cut.
    private mutating func readLimit(_ value: String) {
        let digits = !value.isEmpty && value.utf8.allSatisfy { (48...57).contains($0) }
        let limit = digits ? Int(value) ?? Int.max : nil
        switch dialect {
        case .v1:
            guard let limit, (1...Limits.listLimitMax).contains(limit) else {
                errors.refuse("limit", "must be a whole number from 1 to \(Limits.listLimitMax)")
                return
            }
            list.limit = limit
        case .compatible:
            guard let limit else {
                errors.refuse("limit", "A valid integer is required.")
                return
            }
            guard limit >= 1 else {
                errors.refuse("limit", "Ensure this value is greater than or equal to 1.")
                return
            }
            list.limit = min(limit, Limits.listLimitMax)
        }
    }

    private mutating func readCursor(_ value: String) {
        if value.isEmpty, dialect == .compatible { return }
        list.cursor = ListCursor(value)
        if list.cursor == nil {
            errors.refuse(
                "cursor",
                dialect == .v1 ? "is not a cursor of this list" : "Invalid cursor."
            )
        }
    }
}
