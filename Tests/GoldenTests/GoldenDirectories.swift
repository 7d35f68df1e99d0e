// Where the golden directories lie, and copies of them to work on.

import Glibc
import Testing

/// A directory that a released program wrote, archived in Tests/Golden, and what it must say.
struct GoldenDirectory: CustomTestStringConvertible {
    /// `0.1.0-4ce0371/clean`.
    var name: String

    var testDescription: String { name }
    var archive: String { "\(Self.root)/\(name).tar.xz" }
    var expectations: String { "\(Self.root)/\(name).expect" }

    static let root: String = {
        var parts = #filePath.split(separator: "/")
        parts.removeLast(2)
        return "/" + parts.joined(separator: "/") + "/Golden"
    }()

    static let all: [GoldenDirectory] = Files.names(in: root).flatMap { version in
        Files.names(in: "\(root)/\(version)").filter { $0.hasSuffix(".tar.xz") }.map {
            GoldenDirectory(name: "\(version)/\($0.dropLast(7))")
        }
    }

    /// Unpacks a copy that goes with the value returned.
    func copy() throws -> Scratch {
        let scratch = try Scratch()
        try Files.run(["python3", "-m", "tarfile", "-e", archive, scratch.path])
        return scratch
    }
}

struct GoldenFailure: Error, CustomStringConvertible {
    var description: String
}

/// A directory of one test, removed with everything in it when it is let go.
final class Scratch {
    let path: String

    init() throws {
        var template = Array("/tmp/pulse-golden-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw GoldenFailure(description: "no scratch directory")
        }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { try? Files.run(["rm", "-rf", path]) }
}

enum Files {
    static func names(in path: String) -> [String] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }

    static func read(_ path: String) throws -> [UInt8] {
        guard let file = fopen(path, "r") else {
            throw GoldenFailure(description: "no file \(path)")
        }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&buffer, 1, buffer.count, file)
            guard count > 0 else { return bytes }
            bytes += buffer[..<count]
        }
    }

    static func write(_ bytes: [UInt8], to path: String) throws {
        guard let file = fopen(path, "w") else {
            throw GoldenFailure(description: "cannot write \(path)")
        }
        defer { fclose(file) }
        guard fwrite(bytes, 1, bytes.count, file) == bytes.count else {
            throw GoldenFailure(description: "cannot write all of \(path)")
        }
    }

    /// Runs a program found in the path to its end; one that fails is a failure here.
    static func run(_ words: [String]) throws {
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        arguments.append(nil)
        defer { for argument in arguments { free(argument) } }
        var process = pid_t()
        let code = posix_spawnp(&process, words[0], nil, nil, arguments, environ)
        var status: Int32 = 0
        guard code == 0, waitpid(process, &status, 0) == process, status == 0 else {
            throw GoldenFailure(
                description: "\(words.joined(separator: " ")) failed (\(code), \(status))"
            )
        }
    }
}
