// Where a measurement was made: without it a number says little.

import Glibc

package struct Machine: Sendable {
    package var processor: String
    package var cores: Int
    package var memoryMiB: Int
    package var kernel: String

    package init(processor: String, cores: Int, memoryMiB: Int, kernel: String) {
        self.processor = processor
        self.cores = cores
        self.memoryMiB = memoryMiB
        self.kernel = kernel
    }

    package static func current() -> Machine {
        Machine(
            processor: value(of: "model name", in: "/proc/cpuinfo") ?? "unknown",
            cores: sysconf(Int32(_SC_NPROCESSORS_ONLN)),
            memoryMiB: sysconf(Int32(_SC_PHYS_PAGES)) / 1024 * sysconf(Int32(_SC_PAGESIZE)) / 1024,
            kernel: firstLine(of: "/proc/sys/kernel/osrelease") ?? "unknown"
        )
    }

    private static func lines(of path: String) -> [String] {
        guard let file = fopen(path, "r") else { return [] }
        defer { fclose(file) }
        var lines: [String] = []
        var buffer = [CChar](repeating: 0, count: 4096)
        while lines.count < 100, fgets(&buffer, Int32(buffer.count), file) != nil {
            let bytes = buffer.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }
            lines.append(String(decoding: bytes, as: UTF8.self))
        }
        return lines
    }

    private static func firstLine(of path: String) -> String? { lines(of: path).first }

    private static func value(of name: String, in path: String) -> String? {
        guard let line = lines(of: path).first(where: { $0.hasPrefix(name) }),
            let colon = line.firstIndex(of: ":")
        else { return nil }
        return String(line[line.index(after: colon)...].drop { $0 == " " })
    }
}
