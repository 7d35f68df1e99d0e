// What a setting's text may be, and what it becomes. Every refusal shows what would have been
// right.

internal import PulseDelivery

/// The kind of value a key takes. Ranges are in the unit of the value: milliseconds, bytes, or
/// plain.
enum ConfigurationKind {
    case text
    /// Text that is never shown.
    case secret
    case choice([String])
    case boolean
    case integer(ClosedRange<Int64>)
    case duration(ClosedRange<Int64>)
    case size(ClosedRange<Int64>)
    case listenAddress
    case mailbox
}

/// A converted setting.
enum ConfigurationValue: Hashable, Sendable {
    case text(String)
    case boolean(Bool)
    /// A count, milliseconds or bytes, by the key's kind.
    case number(Int64)
    case address(ListenAddress)
}

struct UnfitValue: Error {
    var message: String
}

extension ConfigurationKind {
    func convert(_ text: String) throws(UnfitValue) -> ConfigurationValue {
        switch self {
        case .text, .secret:
            if text.isEmpty { throw UnfitValue(message: "must not be empty") }
            // A NUL would cut the text short in the C library that gets it.
            if text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) {
                throw UnfitValue(message: "must not hold control characters")
            }
            return .text(text)
        case .mailbox:
            guard Mailbox(text) != nil else {
                throw UnfitValue(
                    message: "\"\(text)\" is not a sender; write pulse@example.org or "
                        + "\"Example <pulse@example.org>\""
                )
            }
            return .text(text)
        case .choice(let words):
            guard words.contains(text) else {
                let hint = Suggestion.hint(for: text, among: words)
                throw UnfitValue(
                    message: "\"\(text)\" is not one of \(words.joined(separator: ", "))\(hint)"
                )
            }
            return .text(text)
        case .boolean:
            guard text == "true" || text == "false" else {
                throw UnfitValue(message: "\"\(text)\" is neither true nor false")
            }
            return .boolean(text == "true")
        case .integer(let range):
            guard let number = Self.digits(text) else {
                throw UnfitValue(message: "\"\(text)\" is not a whole number")
            }
            return .number(try within(range, number))
        case .duration(let range):
            guard let number = Self.quantity(text, units: Self.durationUnits) else {
                throw UnfitValue(
                    message: "\"\(text)\" is not a duration; write a number and a unit: 500ms, "
                        + "10s, 15m, 24h"
                )
            }
            return .number(try within(range, number))
        case .size(let range):
            guard
                let number = Self.digits(text) ?? Self.quantity(text, units: Self.sizeUnits)
            else {
                throw UnfitValue(
                    message: "\"\(text)\" is not a size; write a number and a unit: 512KiB, "
                        + "64MiB, 1GiB"
                )
            }
            return .number(try within(range, number))
        case .listenAddress:
            guard let address = ListenAddress(text) else {
                throw UnfitValue(
                    message: "\"\(text)\" is not an address; write host:port, as in "
                        + "127.0.0.1:8000 or [::1]:8000"
                )
            }
            return .address(address)
        }
    }

    /// A value as an operator would write it.
    func show(_ value: ConfigurationValue) -> String {
        switch (self, value) {
        case (.secret, _): "(secret)"
        case (_, .text(let text)): text
        case (_, .boolean(let truth)): truth ? "true" : "false"
        case (.duration, .number(let number)): Self.show(number, units: Self.durationUnits)
        case (.size, .number(let number)): Self.show(number, units: Self.sizeUnits)
        case (_, .number(let number)): String(number)
        case (_, .address(let address)): address.description
        }
    }

    private func within(
        _ range: ClosedRange<Int64>,
        _ number: Int64
    ) throws(UnfitValue) -> Int64 {
        guard range.contains(number) else {
            let lowest = show(.number(range.lowerBound))
            let highest = show(.number(range.upperBound))
            throw UnfitValue(
                message: "\(show(.number(number))) is out of range; from \(lowest) to \(highest)"
            )
        }
        return number
    }

    // MARK: Numbers with units, the largest unit first.

    private static let durationUnits: [(name: String, factor: Int64)] = [
        ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1),
    ]
    private static let sizeUnits: [(name: String, factor: Int64)] = [
        ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1),
    ]

    private static func quantity(
        _ text: String,
        units: [(name: String, factor: Int64)]
    ) -> Int64? {
        let figures = text.prefix { ("0"..."9").contains($0) }
        let unit = text[figures.endIndex...]
        guard let factor = units.first(where: { $0.name == unit })?.factor,
            let number = digits(String(figures))
        else { return nil }
        let (product, overflow) = number.multipliedReportingOverflow(by: factor)
        return overflow ? nil : product
    }

    /// Decimal digits and nothing else: no sign, no underscore, no octal, no exponent.
    private static func digits(_ text: String) -> Int64? {
        guard !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
        return Int64(text)
    }

    private static func show(_ number: Int64, units: [(name: String, factor: Int64)]) -> String {
        for unit in units where number != 0 && number % unit.factor == 0 {
            return "\(number / unit.factor)\(unit.name)"
        }
        return "\(number)\(units.last?.name ?? "")"
    }
}
