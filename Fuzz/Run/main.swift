// Hands libFuzzer's inputs to one target: `PULSE_FUZZ_TARGET=name pulse-fuzz CORPUS…`.
//
// Built only by Scripts/fuzz.sh, with PULSE_FUZZ=1 and the fuzzer's instrumentation.

import FuzzTargets
import Glibc

/// libFuzzer as a library: its driver, called from our own `main`.
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ argumentCount: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ testOneInput: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// Chosen before the first input, unchanged after.
nonisolated(unsafe) private var chosen: FuzzTarget?

private let name = getenv("PULSE_FUZZ_TARGET").map { String(cString: $0) } ?? ""
chosen = FuzzTarget.named(name)
guard let target = chosen else {
    print("set PULSE_FUZZ_TARGET to one of: " + FuzzTarget.all.map(\.name).joined(separator: " "))
    exit(64)
}

private var argumentCount = CommandLine.argc
private var arguments = CommandLine.unsafeArgv
exit(
    runDriver(
        &argumentCount,
        &arguments,
        { bytes, count in
            do {
                try chosen?.check(Array(UnsafeBufferPointer(start: bytes, count: count)))
            } catch {
                print("not true: \(error)")
                fflush(nil)
                abort()
            }
            return 0
        }
    )
)
