// The log's seam over a real directory, and the lock on it.

import Glibc
import PulseCore
import PulseIO
import Testing

@Suite struct DiskTests {
    @Test(arguments: [true, false])
    func aNewFileReadsAsZerosAndKeepsWhatIsWritten(written: Bool) throws {
        let scratch = try ScratchDirectory()
        let directory = try DiskDirectory(opening: scratch.path)
        let size = (1 << 20) + 5000
        let file = try directory.create("one.log", bytes: size, written: written)
        #expect(try file.size() == size)

        let bytes = [UInt8].pattern(3000)
        try bytes.withUnsafeBytes { try file.write($0, at: 1_048_000) }
        try file.sync()
        try directory.syncDirectory()
        file.dropCache()

        var back = [UInt8](repeating: 1, count: size + 10)
        let got = try back.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
        #expect(got == size)
        #expect(Array(back[1_048_000..<1_051_000]) == bytes)
        #expect(back[..<1_048_000].allSatisfy { $0 == 0 })
        #expect(back[1_051_000..<size].allSatisfy { $0 == 0 })
    }

    @Test func aNewFileHasItsRoomOnTheDisk() throws {
        let scratch = try ScratchDirectory()
        let directory = try DiskDirectory(opening: scratch.path)
        _ = try directory.create("full", bytes: 1 << 20, written: true)
        _ = try directory.create("reserved", bytes: 1 << 20, written: false)
        var full = stat()
        var reserved = stat()
        stat(scratch.path + "/full", &full)
        stat(scratch.path + "/reserved", &reserved)
        #expect(full.st_blocks * 512 >= 1 << 20)
        #expect(reserved.st_blocks * 512 >= 1 << 20 && reserved.st_size == 1 << 20)
    }

    @Test func filesAreListedRenamedReplacedAndRemoved() throws {
        let scratch = try ScratchDirectory()
        let directory = try DiskDirectory.create(at: scratch.path + "/a/b")
        _ = try directory.create("b", bytes: 0, written: true)
        _ = try directory.create("a", bytes: 10, written: false)
        mkdir(scratch.path + "/a/b/rows", 0o700)
        #expect(try directory.list() == ["a", "b"])

        try directory.rename("a", to: "c")
        #expect(try directory.list() == ["b", "c"])
        #expect(try directory.create("c", bytes: 3, written: false).size() == 3)
        try directory.remove("b")
        #expect(try directory.list() == ["c"])

        try directory.replace("c", with: Array("new".utf8))
        #expect(try directory.contents(of: "c") == Array("new".utf8))
        #expect(try directory.contents(of: "none") == nil)
    }

    @Test func failuresSayWhatAndWhy() throws {
        let scratch = try ScratchDirectory()
        let directory = try DiskDirectory(opening: scratch.path)
        #expect(throws: StorageError(.open, file: "none", reason: .notFound)) {
            _ = try directory.open("none")
        }
        #expect(throws: StorageError(.remove, file: "none", reason: .notFound)) {
            try directory.remove("none")
        }
        #expect(throws: StorageError(.open, file: scratch.path + "/none", reason: .notFound)) {
            _ = try DiskDirectory(opening: scratch.path + "/none")
        }
    }

    @Test func aFileTooLargeForTheDiskLeavesNothingBehind() throws {
        let scratch = try ScratchDirectory()
        let directory = try DiskDirectory(opening: scratch.path)
        let failure = #expect(throws: StorageError.self) {
            _ = try directory.create("huge", bytes: 1 << 50, written: true)
        }
        #expect(failure?.operation == .create)
        #expect(try directory.list() == [])
    }

    @Test func theSecondHolderOfADirectoryIsRefusedByName() throws {
        let scratch = try ScratchDirectory()
        let path = scratch.path + "/new/data"
        do {
            let lock = try DirectoryLock(path: path)
            #expect(try lock.list() == [])
            let refusal = #expect(throws: DirectoryRefusal.self) {
                _ = try DirectoryLock(path: path)
            }
            #expect(refusal == .inUse(path: path, process: getpid()))
            #expect(refusal?.description == "\(path) is used by process \(getpid())")
            _ = try DiskDirectory(opening: path).create("theirs", bytes: 0, written: false)
            #expect(try lock.list() == ["theirs"])
        }
        _ = try DirectoryLock(path: path)
    }

    @Test func theLockHoldsWithoutItsFile() throws {
        let scratch = try ScratchDirectory()
        let lock = try DirectoryLock(path: scratch.path)
        #expect(unlink(scratch.path + "/LOCK") == 0)
        #expect(throws: DirectoryRefusal.self) { _ = try DirectoryLock(path: scratch.path) }
        withExtendedLifetime(lock) {}
    }

    @Test func aDirectoryForReadersOpensFilesForReading() throws {
        let scratch = try ScratchDirectory()
        _ = try DiskDirectory(opening: scratch.path).create("a", bytes: 10, written: true)
        let readers = try DiskDirectory(opening: scratch.path, readsOnly: true)
        let file = try readers.open("a")
        #expect(try file.size() == 10)
        file.dropCache()
        #expect(throws: StorageError.self) {
            try [UInt8](repeating: 1, count: 3).withUnsafeBytes { try file.write($0, at: 0) }
        }
    }

    @Test func linksToFilesAreFiles() throws {
        let scratch = try ScratchDirectory()
        let directory = try DiskDirectory.create(at: scratch.path + "/log")
        let elsewhere = try DiskDirectory.create(at: scratch.path + "/elsewhere")
        _ = try elsewhere.create("a", bytes: 10, written: false)
        #expect(symlink("../elsewhere/a", scratch.path + "/log/b") == 0)
        #expect(symlink("../elsewhere/none", scratch.path + "/log/c") == 0)
        #expect(symlink("../elsewhere", scratch.path + "/log/d") == 0)
        #expect(try directory.list() == ["b"])
        #expect(try directory.open("b").size() == 10)
    }

    @Test func aFileThatIsBeingFilledIsGivenUp() throws {
        let scratch = try ScratchDirectory()
        let directory = try DiskDirectory(opening: scratch.path)
        directory.stopFilling()
        let failure = #expect(throws: StorageError.self) {
            _ = try directory.create("spare", bytes: 64 << 20, written: true)
        }
        #expect(failure?.operation == .create)
        #expect(try directory.list() == [])
    }

    @Test func aFileIsNoDataDirectory() throws {
        let scratch = try ScratchDirectory()
        _ = try DiskDirectory(opening: scratch.path).create("file", bytes: 0, written: false)
        for path in [scratch.path + "/file", scratch.path + "/file/below"] {
            let refusal = #expect(throws: DirectoryRefusal.self) {
                _ = try DirectoryLock(path: path)
            }
            #expect(refusal?.description == "\(scratch.path)/file is not a directory")
        }
    }
}
