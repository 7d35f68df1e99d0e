// The process's environment and the small inputs that flags name.

import Glibc
import PulseServer

enum Environment {
    /// All variables; of two of one name the first counts, as for everybody else.
    static let all: [String: String] = {
        var variables: [String: String] = [:]
        var next = environ
        while let entry = next.pointee {
            next += 1
            let text = String(cString: entry)
            guard let equals = text.firstIndex(of: "=") else { continue }
            let name = String(text[..<equals])
            if variables[name] == nil {
                variables[name] = String(text[text.index(after: equals)...])
            }
        }
        return variables
    }()
}

extension Invocation {
    /// A flag's value, or the content of the file it names.
    ///
    /// `@body.html` names a file, `@@` is a plain `@`.
    func text(_ flag: String) throws(CommandFailure) -> String? {
        guard let value = self[flag], value.hasPrefix("@") else { return self[flag] }
        let path = String(value.dropFirst())
        if path.hasPrefix("@") { return path }
        guard let bytes = ConfigurationFile.read(path) else {
            throw .failed(
                "\(flag): \(path) cannot be read, or is larger than \(Configuration.fileBytesMax) bytes"
            )
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw .failed("\(flag): \(path) is not UTF-8")
        }
        return text
    }
}
