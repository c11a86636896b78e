// swift-tools-version: 6.2
import PackageDescription

// The rooms, lowest first. A room imports only what is declared here; `.ci/run` builds with
// `--explicit-target-dependency-import-check error`, which refuses anything else.
let swift: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

let package = Package(
    name: "glim",
    platforms: [.macOS("15.0")],
    products: [
        .library(name: "GlimTensor", targets: ["GlimTensor"]),
        .library(name: "GlimText", targets: ["GlimText"]),
        .library(name: "GlimCheckpoint", targets: ["GlimCheckpoint"]),
        .library(name: "GlimModel", targets: ["GlimModel"]),
        .library(name: "GlimEngine", targets: ["GlimEngine"]),
        .library(name: "GlimServe", targets: ["GlimServe"]),
        .library(name: "GlimTrain", targets: ["GlimTrain"]),
        .library(name: "GlimHub", targets: ["GlimHub"]),
        .executable(name: "glim", targets: ["glim"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0", traits: []),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    ],
    targets: [
        .target(name: "CGlimKernels"),
        .target(name: "CGlimKernelChecks", dependencies: ["CGlimKernels"]),
        .target(name: "GlimTensor", dependencies: ["CGlimKernels", "CGlimKernelChecks"], swiftSettings: swift),
        .target(name: "GlimText", swiftSettings: swift),
        .target(name: "GlimCheckpoint", dependencies: ["GlimTensor"], swiftSettings: swift),
        .target(
            name: "GlimHub",
            dependencies: [
                "GlimCheckpoint", .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "Crypto", package: "swift-crypto"), .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
            ], swiftSettings: swift),
        .target(name: "GlimModel", dependencies: ["GlimTensor", "GlimCheckpoint"], swiftSettings: swift),
        .target(name: "GlimEngine", dependencies: ["GlimTensor", "GlimText", "GlimModel"], swiftSettings: swift),
        .target(
            name: "GlimServe",
            dependencies: [
                "GlimTensor", "GlimText", "GlimModel", "GlimEngine",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"), .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ], swiftSettings: swift),
        .target(
            name: "GlimTrain",
            dependencies: [
                "GlimTensor", "GlimText", "GlimCheckpoint", "GlimModel", .product(name: "TOMLKit", package: "TOMLKit"),
            ], swiftSettings: swift),
        .executableTarget(
            name: "glim",
            dependencies: [
                "GlimTensor", "GlimText", "GlimCheckpoint", "GlimHub", "GlimModel", "GlimEngine", "GlimServe",
                "GlimTrain", .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOHTTP1", package: "swift-nio"),
            ], swiftSettings: swift),

        .target(
            name: "GlimTestSupport",
            dependencies: [
                "GlimTensor", "GlimText", "GlimCheckpoint", "GlimModel",
                .product(name: "Crypto", package: "swift-crypto"), .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "Subprocess", package: "swift-subprocess"),
                .product(name: "SystemPackage", package: "swift-system"),
            ], path: "Tests/GlimTestSupport", swiftSettings: swift),
        .testTarget(
            name: "GlimTensorTests", dependencies: ["GlimTensor", "CGlimKernels", "GlimTestSupport"],
            swiftSettings: swift),
        .testTarget(name: "GlimTextTests", dependencies: ["GlimText", "GlimTestSupport"], swiftSettings: swift),
        .testTarget(
            name: "GlimCheckpointTests", dependencies: ["GlimTensor", "GlimCheckpoint", "GlimTestSupport"],
            swiftSettings: swift),
        .testTarget(name: "GlimHubTests", dependencies: ["GlimHub", "GlimTestSupport"], swiftSettings: swift),
        .testTarget(
            name: "GlimModelTests",
            dependencies: ["GlimModel", "GlimTensor", "GlimCheckpoint", "GlimTrain", "GlimTestSupport"],
            swiftSettings: swift),
        .testTarget(
            name: "GlimEngineTests",
            dependencies: ["GlimTensor", "GlimText", "GlimModel", "GlimEngine", "GlimTestSupport"],
            swiftSettings: swift),
        .testTarget(
            name: "GlimServeTests",
            dependencies: [
                "GlimText", "GlimModel", "GlimEngine", "GlimServe", "GlimTestSupport",
                .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
            ], swiftSettings: swift),
        .testTarget(
            name: "GlimTrainTests",
            dependencies: ["GlimTensor", "GlimText", "GlimCheckpoint", "GlimModel", "GlimTrain", "GlimTestSupport"],
            swiftSettings: swift),
        .testTarget(name: "GlimCommandTests", dependencies: ["GlimText", "GlimTestSupport"], swiftSettings: swift),
    ],
    cLanguageStandard: .c17
)
