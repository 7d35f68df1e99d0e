// Directories by path: making them and reading them.

import Glibc
package import PulseCore

package enum Path {
    /// Makes a directory and those above it, and syncs whatever one was made in.
    ///
    /// One that exists already is fine; anything else of that name is not.
    package static func makeDirectories(_ path: String) throws(StorageError) {
        var sofar = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            let parent = sofar.isEmpty ? "." : sofar
            sofar += part
            if mkdir(sofar, 0o750) == 0 {
                try sync(parent)
            } else {
                let code = errno
                // EROFS and EACCES are also said of directories that exist; those are no obstacle.
                guard isDirectory(sofar) else {
                    throw StorageError(.create, file: sofar, code: code == EEXIST ? ENOTDIR : code)
                }
            }
            sofar += "/"
        }
    }

    /// Makes the names in a directory durable.
    private static func sync(_ path: String) throws(StorageError) {
        let descriptor = OwnedDescriptor(
            takingOver: try StorageError.require(.open, file: path) {
                open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            }
        )
        try StorageError.require(.syncDirectory, file: path) { fsync(descriptor.rawValue) }
    }

    package static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// Whether this process may read a file, or list a directory and reach what is in it.
    package static func isReadable(_ path: String) -> Bool {
        access(path, isDirectory(path) ? R_OK | X_OK : R_OK) == 0
    }

    /// The names in a directory, sorted: all, or those of regular files and of links to such.
    package static func names(
        in path: String,
        filesOnly: Bool = false
    ) throws(StorageError) -> [String] {
        guard let stream = opendir(path) else {
            throw StorageError(.list, file: path, code: errno)
        }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                let code = errno
                guard code == 0 else { throw StorageError(.list, file: path, code: code) }
                return names.sorted()
            }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard name != ".", name != ".." else { continue }
            guard !filesOnly || isRegularFile(name, entry.pointee.d_type, stream) else { continue }
            names.append(name)
        }
    }

    private static func isRegularFile(
        _ name: String,
        _ kind: UInt8,
        _ directory: OpaquePointer
    ) -> Bool {
        if Int(kind) != DT_UNKNOWN, Int(kind) != DT_LNK { return Int(kind) == DT_REG }
        var status = stat()
        return fstatat(dirfd(directory), name, &status, 0) == 0
            && status.st_mode & S_IFMT == S_IFREG
    }
}
