// Reads the small files a configuration is made of.

internal import Glibc

package enum ConfigurationFile {
    /// The whole file, or nil when it cannot be read or is larger than
    /// ``Configuration/fileBytesMax``.
    package static func read(_ path: String) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0 {
                if errno == EINTR { continue }
                return nil
            }
            if count == 0 { return bytes }
            bytes += chunk[..<count]
            guard bytes.count <= Configuration.fileBytesMax else { return nil }
        }
    }
}
