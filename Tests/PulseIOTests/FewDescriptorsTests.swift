// A process that is out of descriptors: its port sheds what waits and rests, its log opens the next file
// all the same, and no file is taken for missing. Each in a process of its own, whose limit is lowered.

import Glibc
import PulseCore
import PulseIO
import Testing

@Suite struct FewDescriptorsTests {
    @Test func aPortClosesWhatWaitsAndRests() async {
        await #expect(processExitsWith: .success) {
            let rig = try LoopRig()
            let owner = Owner(rig)
            let listener = try Listener(host: "127.0.0.1", port: 0, loop: rig.loop, owner: owner)
            let early = try (0..<5).map { _ in try Client(port: listener.address.port) }
            let late = Client.unconnected()
            let taken = Exhaustion()

            #expect(try rig.run { owner.shed > 0 })
            #expect(owner.shed == 5 && owner.accepted.isEmpty)
            for client in early { #expect(client.isClosed(), "unanswered, but not left waiting") }

            // Room again: the port rests nevertheless, and then goes on.
            taken.end()
            try late.connect(port: listener.address.port)
            #expect(try rig.run { !owner.accepted.isEmpty })
            let rested = owner.accepted.first.map { $0.milliseconds(since: owner.shedAt) }
            #expect(rested ?? 0 >= 100)
            #expect(owner.shed == 5)

            // The reserve was taken back: it works a second time.
            let another = try Client(port: listener.address.port)
            let again = Exhaustion()
            #expect(try rig.run { owner.shed == 6 })
            #expect(another.isClosed())
            again.end()
            withExtendedLifetime((early, late, another)) {}
        }
    }

    @Test func aLogOpensItsNextFileAndTakesNoneForMissing() async {
        await #expect(processExitsWith: .success) {
            let scratch = try ScratchDirectory()
            let directory = try DiskDirectory(opening: scratch.path)
            for name in ["a", "b"] { _ = try directory.create(name, bytes: 10, written: true) }
            for makes in [false, true] {
                let taken = Exhaustion()
                #expect(open("/dev/null", O_RDONLY) == -1 && errno == EMFILE)
                let file =
                    makes
                    ? try directory.create("next", bytes: 10, written: true)
                    : try directory.open("a")
                #expect(try file.size() == 10, "through the reserve")
                for name in ["b", "none"] {
                    #expect(throws: StorageError(.open, file: name, reason: .tooManyFiles)) {
                        _ = try directory.open(name)
                    }
                }
                #expect(throws: StorageError(.create, file: "c", reason: .tooManyFiles)) {
                    _ = try directory.create("c", bytes: 10, written: true)
                }
                let unlisted = StorageError(.list, file: scratch.path, reason: .tooManyFiles)
                #expect(throws: unlisted) { _ = try directory.contents(of: "b") }
                taken.end()
                withExtendedLifetime(file) {}
                // Opening takes the reserve again.
                #expect(try directory.open("b").size() == 10)
                #expect(throws: StorageError(.open, file: "none", reason: .notFound)) {
                    _ = try directory.open("none")
                }
            }
            #expect(try directory.list() == ["a", "b", "next"])
        }
    }
}

/// Takes all descriptors the process may have, of which there are few from here on.
private final class Exhaustion {
    private var taken: [Int32] = []

    init() {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = min(limit.rlim_cur, 256)
        #expect(setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
        while true {
            let descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else { break }
            taken.append(descriptor)
        }
        #expect(errno == EMFILE)
    }

    func end() {
        for descriptor in taken { close(descriptor) }
        taken = []
    }
}

private final class Owner: ListenerOwner {
    private let rig: LoopRig
    private(set) var shed = 0
    private(set) var shedAt = MonotonicInstant(nanoseconds: 0)
    /// When each was accepted.
    private(set) var accepted: [MonotonicInstant] = []

    init(_ rig: LoopRig) { self.rig = rig }

    func accepted(
        _ descriptor: consuming OwnedDescriptor,
        from peer: SocketAddress,
        by listener: Listener
    ) {
        accepted.append(rig.loop.now.monotonic)
        descriptor.close()
    }

    func shed(_ count: Int, by listener: Listener) {
        shed += count
        shedAt = rig.loop.now.monotonic
    }
}

/// A client's socket, connected or not.
private final class Client {
    private let descriptor: Int32

    private init(_ descriptor: Int32) { self.descriptor = descriptor }

    convenience init(port: UInt16) throws {
        self.init(Self.socket())
        try connect(port: port)
    }

    deinit { close(descriptor) }

    static func unconnected() -> Client { Client(socket()) }

    private static func socket() -> Int32 {
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let made = Glibc.socket(AF_INET, kind, 0)
        // A connection that is not closed fails the test, and does not hang it.
        var patience = timeval(tv_sec: 2, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        #expect(setsockopt(made, SOL_SOCKET, SO_RCVTIMEO, &patience, size) == 0)
        return made
    }

    func connect(port: UInt16) throws {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let code = withUnsafeBytes(of: &address) { bytes in
            bytes.withMemoryRebound(to: sockaddr.self) {
                Glibc.connect(descriptor, $0.baseAddress, socklen_t(bytes.count))
            }
        }
        guard code == 0 else { throw IOFailure("connect", code: errno) }
    }

    /// The other side has closed it: there is an end to be read, and no byte before it.
    func isClosed() -> Bool {
        var byte: UInt8 = 0
        return read(descriptor, &byte, 1) == 0
    }
}
