// swift-tools-version: 6.2
// The targets of Pulse and the one-way graph between them; ARCHITECTURE.md says what each room is for.

import PackageDescription

/// One set of strict settings for every Swift target: Swift 6 mode, explicit existentials, imports
/// that stay internal, and no warnings.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

func room(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func program(_ name: String, path: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(
        name: name,
        dependencies: dependencies,
        path: path,
        swiftSettings: strict
    )
}

func tests(
    _ name: String,
    _ dependencies: [Target.Dependency],
    exclude: [String] = []
) -> Target {
    .testTarget(
        name: name,
        dependencies: dependencies,
        path: "Tests/\(name)",
        exclude: exclude,
        swiftSettings: strict
    )
}

/// The fuzzers' program needs libFuzzer, which only Scripts/fuzz.sh links; everything it runs is built
/// and tested with the rest.
let fuzzer: [Target] =
    Context.environment["PULSE_FUZZ"] == nil
    ? [] : [program("pulse-fuzz", path: "Fuzz/Run", ["FuzzTargets"])]

let package = Package(
    name: "pulse",
    products: [
        .executable(name: "pulse", targets: ["pulse"]),
        .executable(name: "pulse-bench", targets: ["pulse-bench"]),
        .executable(name: "pulse-sim", targets: ["pulse-sim"]),
        .library(name: "PulseClient", targets: ["PulseClient"]),
    ],
    targets: [
        // C and C++: one small target per library.
        .target(
            name: "CChecksum",
            linkerSettings: [.linkedLibrary("isal"), .linkedLibrary("xxhash")]
        ),
        .target(
            name: "CHTTPParser",
            linkerSettings: [.linkedLibrary("stdc++")]
        ),
        .target(
            name: "CJSON",
            linkerSettings: [.linkedLibrary("stdc++")]
        ),
        .target(
            name: "CMustache",
            linkerSettings: [.linkedLibrary("stdc++")]
        ),
        .target(name: "CKernel"),
        .target(name: "CLZ4", linkerSettings: [.linkedLibrary("lz4")]),
        .target(name: "CCurl", linkerSettings: [.linkedLibrary("curl")]),
        .target(name: "CRocksDB", linkerSettings: [.linkedLibrary("rocksdb")]),
        .target(name: "CYAML", linkerSettings: [.linkedLibrary("yaml")]),

        // Words.
        room("PulseCore", ["CChecksum", "CLZ4"]),

        // Core: decides, and touches nothing.
        room("PulseWire", ["PulseCore"]),
        room("PulseLog", ["PulseCore"]),
        room("PulseDelivery", ["PulseCore", "CMustache"]),
        room("PulseGateway", ["PulseCore", "CHTTPParser", "CJSON"]),
        room("PulseBroker", ["PulseCore", "PulseLog"]),
        room(
            "PulseNode",
            ["PulseCore", "PulseWire", "PulseLog", "PulseBroker", "PulseGateway", "PulseDelivery"]
        ),

        // Kernel and shells.
        room(
            "PulseIO",
            ["PulseCore", "PulseLog", "PulseDelivery", "CKernel", "CCurl", "CRocksDB"]
        ),
        room(
            "PulseServer",
            ["PulseCore", "PulseLog", "PulseNode", "PulseDelivery", "PulseIO", "CYAML"]
        ),
        room(
            "PulseSimulator",
            [
                "PulseCore", "PulseWire", "PulseLog", "PulseBroker", "PulseDelivery",
                "PulseGateway",
                "PulseNode",
            ]
        ),
        room("PulseClient", ["PulseCore", "PulseWire", "PulseIO"]),

        // Programs.
        program(
            "pulse",
            path: "Sources/pulse",
            [
                "PulseCore", "PulseWire", "PulseLog", "PulseBroker", "PulseGateway", "PulseServer",
                "PulseClient", "PulseIO",
            ]
        ),
        room("PulseBench", ["PulseCore", "PulseWire", "CKernel"]),
        program("pulse-bench", path: "Sources/Bench", ["PulseBench"]),
        program("pulse-sim", path: "Sources/Simulate", ["PulseCore", "PulseSimulator"]),
        program("HelloProducer", path: "examples/HelloProducer", ["PulseClient"]),
        program("HelloConsumer", path: "examples/HelloConsumer", ["PulseClient"]),

        // Fuzzing: the readers of foreign bytes and what must be true of them.
        .target(
            name: "FuzzTargets",
            dependencies: [
                "PulseCore", "PulseWire", "PulseLog", "PulseBroker", "PulseGateway",
                "PulseDelivery", "PulseIO", "PulseServer", "TestDoubles",
            ],
            path: "Fuzz/Targets",
            swiftSettings: strict
        ),
        program("pulse-fuzz-seeds", path: "Fuzz/Seeds", ["FuzzTargets", "PulseCore"]),

        // Tests, one target a room.
        tests("PulseCoreTests", ["PulseCore"]),
        tests("PulseWireTests", ["PulseCore", "PulseWire"], exclude: ["Vectors"]),
        tests("PulseClientTests", ["PulseCore", "PulseWire", "PulseIO", "PulseClient"]),
        tests("PulseLogTests", ["PulseCore", "PulseLog"]),
        tests("PulseDeliveryTests", ["PulseCore", "PulseDelivery"]),
        tests("PulseGatewayTests", ["PulseCore", "PulseGateway"]),
        .target(
            name: "TestDoubles",
            dependencies: ["PulseCore"],
            path: "Tests/TestDoubles",
            swiftSettings: strict
        ),
        tests("PulseBrokerTests", ["PulseCore", "PulseLog", "PulseBroker", "TestDoubles"]),
        tests(
            "PulseNodeTests",
            [
                "PulseCore", "PulseLog", "PulseBroker", "PulseGateway", "PulseWire",
                "PulseDelivery", "PulseNode", "TestDoubles",
            ]
        ),
        tests("PulseIOTests", ["PulseCore", "PulseLog", "PulseDelivery", "PulseIO"]),
        tests("PulseServerTests", ["PulseCore", "PulseDelivery", "PulseServer"]),
        tests(
            "GoldenTests",
            ["PulseCore", "PulseLog", "PulseBroker", "PulseIO", "PulseServer"]
        ),
        tests("SimulationTests", ["PulseCore", "PulseLog", "PulseBroker", "PulseSimulator"]),
        tests(
            "IntegrationTests",
            ["PulseCore", "PulseWire", "PulseIO", "PulseClient"],
            exclude: ["Sinks"]
        ),
        tests("BenchTests", ["PulseCore", "PulseBench"]),
        tests("FuzzTests", ["FuzzTargets", "PulseBroker", "PulseCore"]),
        tests("HouseTests", ["PulseCore"]),
    ] + fuzzer,
    cxxLanguageStandard: .cxx20
)
