// What fuzzers found stays found: every input of the corpus goes through its target again.

import FuzzTargets
import Glibc
import Testing

@Suite struct CorpusTests {
    @Test(arguments: FuzzTarget.all.map(\.name))
    func `the corpus holds`(name: String) throws {
        let target = try #require(FuzzTarget.named(name))
        for (number, seed) in try target.seeds().enumerated() {
            #expect(throws: Never.self, "seed \(number) of \(name)") { try target.check(seed) }
        }
        let files = Corpus.files(of: name)
        #expect(!files.isEmpty, "Fuzz/corpus/\(name) has inputs")
        for file in files {
            let bytes = try #require(Corpus.bytes(file))
            #expect(throws: Never.self, "\(file)") { try target.check(bytes) }
        }
    }

    @Test func `every folder of the corpus belongs to a target, and it is small`() {
        let names = FuzzTarget.all.map(\.name)
        #expect(Corpus.names(in: Corpus.root) == names.sorted())
        let count = names.reduce(0) { $0 + Corpus.files(of: $1).count }
        #expect(count <= 400, "the corpus has \(count) files; run make fuzz-minimise")
    }
}

/// Fuzz/corpus in this checkout.
enum Corpus {
    static let root: String = {
        var parts = #filePath.split(separator: "/")
        parts.removeLast(3)
        return "/" + parts.joined(separator: "/") + "/Fuzz/corpus"
    }()

    static func files(of target: String) -> [String] {
        names(in: root + "/" + target).map { root + "/" + target + "/" + $0 }
    }

    static func names(in folder: String) -> [String] {
        guard let directory = opendir(folder) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }

    static func bytes(_ path: String) -> [UInt8]? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&buffer, 1, buffer.count, file)
            guard count > 0 else { return bytes }
            bytes += buffer[..<count]
        }
    }
}
