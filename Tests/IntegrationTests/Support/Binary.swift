// Where the programs under test are.

import Glibc

enum Binary {
    /// The root of the package: this file is Tests/IntegrationTests/Support/Binary.swift.
    static var packageRoot: String {
        var parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
        parts.removeLast(4)
        return parts.joined(separator: "/")
    }

    /// A file that belongs to these tests.
    static func resource(_ name: String) -> String { "\(packageRoot)/Tests/IntegrationTests/\(name)" }

    /// `PULSE_BINARY`, or the program built beside these tests, or the newest build there is.
    static func pulse() throws(TestFailure) -> String {
        if let given = getenv("PULSE_BINARY") { return String(cString: given) }
        #if DEBUG
        let kinds = ["debug", "release"]
        #else
        let kinds = ["release", "debug"]
        #endif
        for kind in kinds {
            let path = "\(packageRoot)/.build/\(kind)/pulse"
            if access(path, X_OK) == 0 { return path }
        }
        throw TestFailure("there is no pulse below \(packageRoot)/.build: run `swift build` first")
    }
}
