// The fence around the core: what decides has no clock, socket, file, thread or chance of its own. The
// module graph keeps most of that out; these names need no import, or come with a C library.

import Testing

struct Fence {
    struct Breach: CustomStringConvertible, Equatable {
        var file: String
        var line: Int
        var what: String

        var description: String { "\(file):\(line): \(what)" }
    }

    /// Modules the core may import besides its own rooms.
    static let modules: Set<String> = [
        "PulseCore", "PulseWire", "PulseLog", "PulseBroker", "PulseGateway", "PulseDelivery",
        "PulseNode", "PulseSimulator", "PulseReplication",
        "CChecksum", "CHTTPParser", "CJSON", "CLZ4", "CMustache",
    ]

    /// Whole words that are never said in the core.
    static let words: Set<String> = [
        // Clocks.
        "ContinuousClock", "SuspendingClock", "DispatchTime", "clock_gettime", "gettimeofday",
        "Date", "mach_absolute_time", "time_t",
        // Chance.
        "SystemRandomNumberGenerator", "UUID", "arc4random", "arc4random_uniform", "drand48",
        "getrandom", "getentropy", "random_device",
        // Values that differ from run to run.
        "hashValue", "ObjectIdentifier", "unsafeBitCast",
        // Threads.
        "Thread", "pthread_create", "pthread_self", "DispatchQueue", "Task", "TaskGroup",
        "withTaskGroup", "actor", "async", "await", "MainActor", "Mutex", "Atomic", "NSLock",
        "OperationQueue", "sleep", "usleep", "nanosleep",
        // Files and sockets.
        "FileManager", "FileHandle", "FileDescriptor", "fopen", "fread", "fwrite", "openat",
        "pread", "pwrite", "fsync", "fdatasync", "socket", "epoll_wait", "getaddrinfo",
        "readLine", "print", "debugPrint", "dump", "fputs", "stdout", "stderr", "getenv",
        "ProcessInfo", "CommandLine", "exit", "_exit", "abort", "dlopen",
    ]

    /// Members that draw from the system's generator unless they are told `using:` another.
    static let chancy = ["random", "shuffled", "shuffle", "randomElement"]

    static func breaches(in text: String, file: String) -> [Breach] {
        var found: [Breach] = []
        for (index, line) in CodeLines(text).lines.enumerated() {
            func breach(_ what: String) {
                found.append(Breach(file: file, line: index + 1, what: what))
            }
            let tokens = Self.tokens(line)
            if let place = tokens.firstIndex(of: "import"), place + 1 < tokens.count,
                tokens[..<place].allSatisfy({
                    [
                        "package", "internal", "public", "private", "fileprivate", "@", "_exported",
                        "preconcurrency", "testable",
                    ].contains($0)
                })
            {
                var module = tokens[place + 1]
                if ["struct", "class", "enum", "func", "protocol", "typealias", "var", "let"]
                    .contains(module), place + 2 < tokens.count
                {
                    module = tokens[place + 2]
                }
                if !modules.contains(module) { breach("imports \(module)") }
                continue
            }
            for (place, token) in tokens.enumerated() {
                // A label or a member of ours may have such a name: `exit:`, `.sleep`.
                let before = place > 0 ? tokens[place - 1] : ""
                let after = place + 1 < tokens.count ? tokens[place + 1] : ""
                if words.contains(token), before != ".", before != "func", before != "case",
                    after != ":"
                {
                    breach(token)
                }
                if token == "hashValue", before == "." { breach(".hashValue") }
                if chancy.contains(token), before == ".", after == "(" {
                    let rest = tokens[(place + 2)...]
                    let arguments = rest.prefix { $0 != ")" }
                    if !arguments.contains("using") { breach(".\(token)( without using:") }
                }
                if ["open", "read", "write", "close", "connect", "send", "recv", "time", "rand"]
                    .contains(token), after == "(", before == ".", place > 1,
                    ["Glibc", "Musl", "Darwin", "Foundation"].contains(tokens[place - 2])
                {
                    breach("\(tokens[place - 2]).\(token)(")
                }
            }
        }
        return found
    }

    /// C and C++ shims of the core: pure functions over bytes, without a look at the world.
    static func shimBreaches(in text: String, file: String) -> [Breach] {
        let headers = [
            "chrono", "thread", "random", "fstream", "mutex", "future", "iostream", "filesystem",
            "atomic", "ctime", "time.h", "pthread.h", "unistd.h", "fcntl.h", "stdio.h", "cstdio",
            "sys/socket.h", "sys/time.h",
        ]
        let calls: Set<String> = [
            "clock_gettime", "gettimeofday", "time", "rand", "random", "srand", "fopen", "printf",
            "getenv", "pthread_create", "sleep", "usleep", "socket", "system",
        ]
        var found: [Breach] = []
        for (index, line) in CodeLines(text).lines.enumerated() {
            let tokens = Self.tokens(line)
            if tokens.starts(with: ["#", "include", "<"]) {
                let header = tokens.dropFirst(3).prefix { $0 != ">" }.joined()
                if headers.contains(header) {
                    found.append(Breach(file: file, line: index + 1, what: "includes <\(header)>"))
                }
            }
            for (place, token) in tokens.enumerated()
            where calls.contains(token) && place + 1 < tokens.count && tokens[place + 1] == "(" {
                let before = place > 0 ? tokens[place - 1] : ""
                guard before != ".", before != ">" else { continue }
                found.append(Breach(file: file, line: index + 1, what: "\(token)("))
            }
        }
        return found
    }

    /// Words and single signs, without white space.
    static func tokens(_ line: String) -> [String] {
        var tokens: [String] = []
        var word = ""
        for character in line {
            if character.isLetter || character.isNumber || character == "_" {
                word.append(character)
                continue
            }
            if !word.isEmpty { tokens.append(word) }
            word = ""
            if !character.isWhitespace { tokens.append(String(character)) }
        }
        if !word.isEmpty { tokens.append(word) }
        return tokens
    }
}

@Suite struct DeterminismFenceTests {
    static let rooms = [
        "PulseCore", "PulseWire", "PulseLog", "PulseBroker", "PulseGateway", "PulseDelivery",
        "PulseNode", "PulseSimulator",
    ]
    static let shims = ["CChecksum", "CHTTPParser", "CJSON", "CLZ4", "CMustache"]

    @Test(arguments: rooms)
    func theRoomTouchesNothing(room: String) throws {
        let files = Tree.files(in: "Sources/\(room)", endings: [".swift"])
        #expect(!files.isEmpty, "Sources/\(room) has files")
        for file in files {
            let text = try #require(Tree.text(file))
            for breach in Fence.breaches(in: text, file: file) { Issue.record("\(breach)") }
        }
    }

    @Test(arguments: shims)
    func theShimTouchesNothing(shim: String) throws {
        let files = Tree.files(in: "Sources/\(shim)", endings: [".c", ".cpp", ".h"])
        #expect(!files.isEmpty, "Sources/\(shim) has files")
        for file in files {
            let text = try #require(Tree.text(file))
            for breach in Fence.shimBreaches(in: text, file: file) { Issue.record("\(breach)") }
        }
    }

    /// A fence is only as good as what it catches.
    @Test(arguments: [
        ("import Foundation", "imports Foundation"),
        ("package import Glibc", "imports Glibc"),
        ("@preconcurrency import Dispatch", "imports Dispatch"),
        ("import struct Foundation.Date", "imports Foundation"),
        ("internal import Synchronization", "imports Synchronization"),
        ("let now = ContinuousClock.now", "ContinuousClock"),
        ("let now = Date()", "Date"),
        ("let id = UUID()", "UUID"),
        ("let n = Int.random(in: 0..<5)", ".random( without using:"),
        ("let n = list.shuffled()", ".shuffled( without using:"),
        ("list.shuffle()", ".shuffle( without using:"),
        ("let n = list.randomElement()", ".randomElement( without using:"),
        ("var g = SystemRandomNumberGenerator()", "SystemRandomNumberGenerator"),
        ("let h = text.hashValue", ".hashValue"),
        ("let o = ObjectIdentifier(self)", "ObjectIdentifier"),
        ("Task { work() }", "Task"),
        ("func f() async {}", "async"),
        ("package actor Broker {}", "actor"),
        ("let m = Mutex(0)", "Mutex"),
        ("var t = timespec(); clock_gettime(CLOCK_MONOTONIC, &t)", "clock_gettime"),
        ("let f = fopen(path, mode)", "fopen"),
        ("let f = Glibc.open(path, 0)", "Glibc.open("),
        ("print(value)", "print"),
        ("let text = \"now is \\(Date())\"", "Date"),
        ("let text = #\"raw \\#(UUID())\"#", "UUID"),
    ])
    func catches(line: String, what: String) {
        let source = "// A file.\n\nlet x = 1\n" + line + "\n"
        let found = Fence.breaches(in: source, file: "Fake.swift")
        #expect(found.contains(.init(file: "Fake.swift", line: 4, what: what)), "\(found)")
    }

    @Test(arguments: [
        "// import Foundation, Date(), Task { }",
        "/* let now = Date() /* nested UUID() */ Task {} */",
        "let text = \"Date() and UUID() in a text, \\\" too, Task\"",
        "let text = \"\"\"\n    Date() \"quoted\" UUID()\n    \"\"\"",
        "let n = Int.random(in: 0..<5, using: &generator)",
        "let l = list.shuffled(using: &generator)",
        "let updated = dateOf(record)",
        "case exit(Int)",
        "func open(_ id: ConnectionID) {}",
        "try directory.open(name)",
        "writer.close(in: &bytes)",
        "hasher.combine(value)",
        "package import PulseCore",
        "let sentence = #\"a \" Date() \"#",
    ])
    func letsThrough(source: String) {
        #expect(Fence.breaches(in: source, file: "Fake.swift").isEmpty)
    }

    @Test(arguments: [
        ("#include <chrono>", "includes <chrono>"), ("#include <thread>", "includes <thread>"),
        ("#include <random>", "includes <random>"), ("#include <fstream>", "includes <fstream>"),
        ("auto t = time(nullptr);", "time("), ("int n = std::rand();", "rand("),
    ])
    func catchesInShims(line: String, what: String) {
        let found = Fence.shimBreaches(in: "// A shim.\n" + line, file: "Fake.cpp")
        #expect(found == [.init(file: "Fake.cpp", line: 2, what: what)])
    }

    @Test func aCommentInAShimIsNoBreach() {
        let source = "// #include <chrono>\n/* rand() */\n#include <vector>\nx.time();\n"
        #expect(Fence.shimBreaches(in: source, file: "Fake.cpp").isEmpty)
    }
}
