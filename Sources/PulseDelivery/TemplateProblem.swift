// Why a template is refused when it is saved: which part, where in it, and what to do about it.

package struct TemplateProblem: Error, Hashable, Sendable {
    /// The field as the client wrote it: `name`, `subject`, `text` or `html`.
    package var field: String
    /// A byte offset into the field, and the same as a person counts: line and column from 1, the
    /// column in characters.
    package var position: Int
    package var line: Int
    package var column: Int
    /// A sentence without the position; ``description`` has both.
    package var message: String

    package init(field: String, message: String) {
        self.field = field
        self.position = 0
        self.line = 1
        self.column = 1
        self.message = message
    }

    /// A problem at byte `position` of `text`.
    init(field: String, in text: String, at position: Int, _ message: String) {
        self.field = field
        self.position = position
        self.message = message
        line = 1
        column = 1
        for byte in text.utf8.prefix(position) {
            if byte == UInt8(ascii: "\n") {
                line += 1
                column = 1
            } else if byte & 0xC0 != 0x80 {
                column += 1
            }
        }
    }
}

extension TemplateProblem: CustomStringConvertible {
    package var description: String { "\(field), line \(line), column \(column): \(message)" }
}
