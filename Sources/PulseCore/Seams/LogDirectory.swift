// What the log needs from a disk. PulseIO implements it over a real directory, the simulator over a
// disk that tears, loses and lies.

/// One flat directory of files that a shard's log lives in.
///
/// Names never contain a slash. Creating, renaming and removing become durable only with
/// ``syncDirectory()``. Safe to use from the loop's thread and the background thread at once, on
/// different files; both may read one file that nobody writes.
package protocol LogDirectory: AnyObject, Sendable {
    /// All file names, sorted.
    func list() throws(StorageError) -> [String]
    func open(_ name: String) throws(StorageError) -> any LogFile
    /// Makes a file of `bytes` bytes that read as zero, replacing one of that name. `written` writes
    /// the zeros out, so that later writes change no metadata; otherwise its room is only reserved:
    /// quick to make, slower to sync. A disk without the room says so here, not at a later write.
    /// Neither the content nor the name is durable yet.
    func create(_ name: String, bytes: Int, written: Bool) throws(StorageError) -> any LogFile
    func rename(_ old: String, to new: String) throws(StorageError)
    func remove(_ name: String) throws(StorageError)
    func syncDirectory() throws(StorageError)
}

/// One open file. Reads and writes are positional; a write reaches the page cache, ``sync()`` the disk.
package protocol LogFile: AnyObject, Sendable {
    var name: String { get }
    func size() throws(StorageError) -> Int
    /// Writes all of `bytes` at `position`, or throws.
    func write(_ bytes: UnsafeRawBufferPointer, at position: Int) throws(StorageError)
    /// Fills `buffer` as far as the file reaches; returns how many bytes were read.
    func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at position: Int
    ) throws(StorageError) -> Int
    /// `fdatasync`: on return all earlier writes to this file are on stable storage. After an error
    /// nothing is known of those writes and the call must not be repeated.
    func sync() throws(StorageError)
    /// Asks the kernel to forget cached pages, so that the next reads come from the disk.
    func dropCache()
}

extension LogDirectory {
    /// The whole content of a small file, or nil when there is none of that name.
    package func contents(of name: String) throws(StorageError) -> [UInt8]? {
        guard try list().contains(name) else { return nil }
        let file = try open(name)
        var bytes = [UInt8](repeating: 0, count: try file.size())
        let got = try readWhole(file, into: &bytes)
        guard got == bytes.count else {
            throw StorageError(.read, file: name, byte: 0, reason: .short(got: got))
        }
        return bytes
    }

    private func readWhole(
        _ file: any LogFile,
        into bytes: inout [UInt8]
    ) throws(StorageError) -> Int {
        let result = bytes.withUnsafeMutableBytes { buffer -> Result<Int, StorageError> in
            do throws(StorageError) { return .success(try file.read(into: buffer, at: 0)) } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// Replaces a small file so that a crash leaves the old content or the new, never a mixture:
    /// temporary name, write, sync, rename, sync of the directory.
    package func replace(_ name: String, with bytes: [UInt8]) throws(StorageError) {
        let temporary = name + ".tmp"
        let file = try create(temporary, bytes: bytes.count, written: false)
        let result = bytes.withUnsafeBytes { buffer -> Result<Void, StorageError> in
            do throws(StorageError) {
                try file.write(buffer, at: 0)
                return .success(())
            } catch { return .failure(error) }
        }
        try result.get()
        try file.sync()
        try rename(temporary, to: name)
        try syncDirectory()
    }
}
