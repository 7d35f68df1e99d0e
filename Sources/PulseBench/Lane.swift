// One connection of the generator with the requests that are under way on it.

import PulseCore

final class Lane {
    let socket: BenchSocket
    private let dialect: any BenchDialect
    private let depth: Int
    /// When each request under way was intended to leave, oldest first.
    private var intended: [UInt64] = []
    private var head = 0
    private(set) var isGone = false

    init(_ arguments: BenchArguments) throws(BenchSocketFailure) {
        socket = try BenchSocket(host: arguments.host, port: arguments.port)
        dialect = arguments.isNative ? NativeDialect() : HTTPDialect()
        depth = arguments.depth
        socket.append { dialect.greet(into: &$0) }
    }

    var inFlight: Int { intended.count - head }
    var hasRoom: Bool { !isGone && inFlight < depth }
    /// Whether requests may be written: the native protocol shakes hands first.
    var isReady: Bool { (dialect as? NativeDialect)?.isReady ?? true }

    func begin(_ number: Int, of workload: BenchWorkload, intendedAt time: UInt64) {
        intended.append(time)
        socket.append { dialect.write(number, of: workload, into: &$0) }
    }

    func flush() { if !isGone, !socket.flush() { isGone = true } }

    /// Takes in what came; `answered` gets the intended time of each answered request.
    func receive(
        into buffer: UnsafeMutableRawBufferPointer,
        _ answered: (_ intended: UInt64, _ verdicts: [BenchVerdict]) -> Void
    ) {
        let isOpen = socket.receive(into: buffer) { bytes in
            do {
                try dialect.read(bytes) { verdicts in
                    guard head < intended.count else {
                        isGone = true
                        return
                    }
                    answered(intended[head], verdicts)
                    head += 1
                    if head == intended.count {
                        intended.removeAll(keepingCapacity: true)
                        head = 0
                    }
                }
            } catch { isGone = true }
        }
        if !isOpen { isGone = true }
    }
}
