// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "examples",
    platforms: [.macOS("15.0")],
    dependencies: [.package(name: "glim", path: "..")],
    targets: [
        .executableTarget(
            name: "stream",
            dependencies: [
                .product(name: "GlimModel", package: "glim"), .product(name: "GlimText", package: "glim"),
            ], path: "stream", swiftSettings: [.swiftLanguageMode(.v6)])
    ]
)
