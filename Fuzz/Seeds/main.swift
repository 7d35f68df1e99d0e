// Inputs for fuzzers, without the fuzzer:
//
//     pulse-fuzz-seeds FOLDER               write the inputs to begin with, a folder for each target
//     pulse-fuzz-seeds check TARGET FILE…   run inputs through a target, in a debugger for example

import FuzzTargets
import Glibc
import PulseCore

let arguments = CommandLine.arguments
if arguments.count > 3, arguments[1] == "check", let target = FuzzTarget.named(arguments[2]) {
    for path in arguments.dropFirst(3) {
        guard let bytes = read(path) else {
            print("cannot read \(path)")
            exit(66)
        }
        do {
            try target.check(bytes)
            print("\(path): holds")
        } catch {
            print("\(path): not true: \(error)")
            exit(1)
        }
    }
    exit(0)
}
guard arguments.count == 2 else {
    print("usage: pulse-fuzz-seeds FOLDER | pulse-fuzz-seeds check TARGET FILE…")
    exit(64)
}
let folder = arguments[1]
mkdir(folder, 0o755)
for target in FuzzTarget.all {
    mkdir("\(folder)/\(target.name)", 0o755)
    let seeds = try target.seeds()
    for (number, seed) in seeds.enumerated() {
        let path = "\(folder)/\(target.name)/seed-\(number)"
        guard let file = fopen(path, "w") else {
            print("cannot write \(path)")
            exit(74)
        }
        fwrite(seed, 1, seed.count, file)
        fclose(file)
    }
    print("\(target.name): \(seeds.count) seeds")
}

func read(_ path: String) -> [UInt8]? {
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
