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
    static func resource(_ name: String) -> String {
        "\(packageRoot)/Tests/IntegrationTests/\(name)"
    }

    /// `PULSE_BINARY`, or the program built beside these tests.
    static func pulse() throws(TestFailure) -> String { try find("pulse", "PULSE_BINARY") }

    /// The same for the load generator.
    static func bench() throws(TestFailure) -> String {
        try find("pulse-bench", "PULSE_BENCH_BINARY")
    }

    private static func find(_ name: String, _ variable: String) throws(TestFailure) -> String {
        if let given = getenv(variable) { return String(cString: given) }
        #if DEBUG
        let kinds = ["debug", "release"]
        #else
        let kinds = ["release", "debug"]
        #endif
        for kind in kinds {
            let path = "\(packageRoot)/.build/\(kind)/\(name)"
            if access(path, X_OK) == 0 { return path }
        }
        throw TestFailure(
            "there is no \(name) below \(packageRoot)/.build: run `swift build` first"
        )
    }
}
