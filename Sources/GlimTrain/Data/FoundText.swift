import Foundation
import GlimTensor

/// Where a machine keeps text that came with its software: what `glim quickstart` reads without `--data`.
///
/// Only installed software is read, never a person's own files. Each source has a share of the budget, so that a huge
/// `/usr/include` does not crowd out Python; what a source leaves unused goes to the others in order.
package struct FoundText: Sendable {
    /// One kind of text.
    package struct Source: Sendable {
        package var name: String
        package var folders: [String]
        /// Lower-case endings of wanted file names; a name without a dot counts only if it is a README.
        package var extensions: Set<String>
        /// Of the budget, in parts of the sum of all shares.
        package var share: Double

        package init(name: String, folders: [String], extensions: Set<String>, share: Double) {
            (self.name, self.folders, self.extensions, self.share) = (name, folders, extensions, share)
        }
    }

    package var sources: [Source]

    package init(sources: [Source]) { self.sources = sources }

    /// What is usual on Linux and macOS.
    ///
    /// - Parameter environment: `PATH` leads to the Swift toolchain and to Pythons outside the usual places.
    package static func onThisMachine(
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) -> FoundText {
        let toolchain = toolchains(environment)
        let documents: Set = ["txt", "md", "rst", "html", "htm", "texi", "adoc", "pod"]
        return FoundText(sources: [
            Source(
                name: "python", folders: pythons(environment) + toolchain.map { $0 + "/lib" },
                extensions: ["py", "pyi"], share: 0.4),
            Source(
                name: "c",
                folders: ["/usr/src", "/usr/local/include", "/usr/include"] + macInclude
                    + toolchain.map { $0 + "/lib/clang" } + ["/usr/lib/clang", "/usr/lib/gcc"],
                extensions: ["c", "h", "cc", "cpp", "hpp", "hh"], share: 0.25),
            Source(
                name: "documentation",
                folders: ["/usr/share/doc", "/usr/local/share/doc", "/usr/share/vim", "/usr/share/perl"]
                    + toolchain.map { $0 + "/share" } + folders(in: "/usr/share", where: { $0.hasPrefix("perl") }),
                extensions: documents, share: 0.15),
            Source(
                name: "scripts",
                folders: folders(in: "/usr/share", where: { $0.hasPrefix("perl") }) + perlBases
                    + ["/usr/lib/ruby", "/usr/local/go/src", "/usr/lib/node_modules", "/System/Library/Perl"],
                extensions: ["pm", "pl", "rb", "go", "js", "ts"], share: 0.1),
            Source(
                name: "swift", folders: (toolchain + ["/usr"]).flatMap { [$0 + "/lib/swift", $0 + "/share/swift"] },
                extensions: ["swiftinterface", "swift", "modulemap"], share: 0.1),
        ])
    }

    /// The files of a source, in an order that depends on their paths alone but mixes them, so that a part of it is a
    /// sample of the whole rather than its first letters.
    func files(of source: Source) -> [(path: String, entry: FileBytes.Entry)] {
        var found: [(path: String, entry: FileBytes.Entry)] = []
        var seen: Set<FileBytes.Identity> = []
        for folder in source.folders {
            guard let resolved = FileBytes.realPath(folder) else { continue }
            var pending = [resolved]
            while let path = pending.popLast(), found.count < Self.maximumFiles {
                guard let entry = FileBytes.entry(path, following: false), seen.insert(entry.identity).inserted else {
                    continue
                }
                switch entry.kind {
                case .folder:
                    let names = FileBytes.names(in: path) ?? []
                    pending += names.reversed().filter(Self.isWantedName).map { path + "/" + $0 }
                case .file:
                    guard entry.size >= 256, entry.size <= Self.maximumFileBytes else { continue }
                    if Self.isWanted(path, source.extensions) { found.append((path, entry)) }
                case .pipe, .other: continue
                }
            }
        }
        func rank(_ path: String) -> UInt64 { ContentHash.hash(Array(path.utf8), seed: 1) }
        return found.map { (rank($0.path), $0) }.sorted { ($0.0, $0.1.path) < ($1.0, $1.1.path) }.map(\.1)
    }

    private static let maximumFiles = 100_000
    /// Larger files are amalgamations and tables more often than text.
    private static let maximumFileBytes = 512 << 10

    /// Leaves out hidden names, other people's packages, tables of characters, and texts that are all alike.
    private static func isWantedName(_ name: String) -> Bool {
        if name.hasPrefix(".") || name.hasPrefix("changelog") || name.hasSuffix(".private.swiftinterface") {
            return false
        }
        return !["site-packages", "__pycache__", "encodings", "lib2to3", "unicore", "copyright", "COPYING", "LICENSE"]
            .contains(name)
    }

    private static func isWanted(_ path: String, _ extensions: Set<String>) -> Bool {
        let name = path.split(separator: "/").last.map { $0.lowercased() } ?? ""
        guard let dot = name.lastIndex(of: ".") else { return name.hasPrefix("readme") && extensions.contains("txt") }
        return extensions.contains(String(name[name.index(after: dot)...]))
    }

    /// Whether text reads like prose or source: lines a person would write, and letters rather than figures.
    static func isWritten(_ bytes: [UInt8]) -> Bool {
        var (lines, letters, visible) = (1, 0, 0)
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "\n"): lines += 1
            case 0x00...0x20: continue
            default:
                visible += 1
                if (byte | 0x20) >= UInt8(ascii: "a") && (byte | 0x20) <= UInt8(ascii: "z") || byte >= 0x80 {
                    letters += 1
                }
            }
        }
        return bytes.count / lines <= 200 && letters * 2 >= visible && visible > 0
    }

    // MARK: - Places

    private static func folders(in folder: String, where matches: (String) -> Bool) -> [String] {
        (FileBytes.names(in: folder) ?? []).filter(matches).map { folder + "/" + $0 }
    }

    private static func path(_ environment: [String: String]) -> [String] {
        (environment["PATH"] ?? "").split(separator: ":").map(String.init).filter { $0.hasPrefix("/") }
    }

    /// The `usr` folders of the Swift toolchains on `PATH`; a link (as swiftly makes them) is followed to the real one.
    private static func toolchains(_ environment: [String: String]) -> [String] {
        let real = path(environment).compactMap { FileBytes.realPath($0 + "/swift") }
        return unique(real.map { parent(parent($0)) }.filter { $0 != "/usr" && $0.count > 1 })
    }

    /// Folders with the standard library of a Python.
    private static func pythons(_ environment: [String: String]) -> [String] {
        var prefixes = ["/usr", "/usr/local"]
        for bin in path(environment) {
            if let python = FileBytes.realPath(bin + "/python3") { prefixes.append(parent(parent(python))) }
            // A shim of pyenv is a script that starts one of its versions.
            if bin.hasSuffix("/.pyenv/shims") {
                prefixes += folders(in: parent(bin) + "/versions") { $0.first?.isNumber == true }
            }
        }
        let framework = "/Library/Frameworks/Python.framework/Versions"
        prefixes += folders(in: framework) { $0.hasPrefix("3") }
        prefixes += folders(in: macDeveloper + "/Library/Frameworks/Python3.framework/Versions") { $0.hasPrefix("3") }
        return unique(prefixes.flatMap { prefix in folders(in: prefix + "/lib") { $0.hasPrefix("python3") } })
    }

    private static let macDeveloper = "/Library/Developer/CommandLineTools"
    private static let macInclude = [
        macDeveloper + "/SDKs/MacOSX.sdk/usr/include",
        "/Applications/Xcode.app/Contents/Developer/Platforms/MacOSX.platform/Developer/SDKs/MacOSX.sdk/usr/include",
    ]

    /// Debian's minimal Perl lives beside the libraries of the architecture.
    private static var perlBases: [String] {
        folders(in: "/usr/lib") { $0.hasSuffix("-linux-gnu") }
            .flatMap { library in folders(in: library) { $0.hasPrefix("perl") } }
    }

    private static func parent(_ path: String) -> String {
        path.lastIndex(of: "/").map { String(path[..<$0]) } ?? path
    }

    private static func unique(_ paths: [String]) -> [String] {
        var seen: Set<String> = []
        return paths.filter { seen.insert($0).inserted }
    }
}

extension Corpus {
    /// Source code and documentation that came with this machine's software, for training without data of one's own.
    ///
    /// The same machine gives the same corpus. A person's own files are never read.
    ///
    /// - Parameter byteBudget: how much to take at most.
    /// - Throws: `DataError.nothingUsable` on a machine without any.
    public static func found(
        byteBudget: Int = 30 << 20, progress: (Totals) -> Void = { _ in }
    ) throws(DataError) -> Corpus {
        try found(.onThisMachine(), byteBudget: byteBudget, progress: progress)
    }

    package static func found(
        _ text: FoundText, byteBudget: Int, progress: (Totals) -> Void = { _ in }
    ) throws(DataError) -> Corpus {
        var collector = Collector(limits: Limits(totalBytes: byteBudget), dropsSimilar: true)
        let shares = text.sources.reduce(0) { $0 + $1.share }
        var left = text.sources.map { text.files(of: $0)[...] }
        // Each source up to its share, then whatever is left, in order.
        for isSecondPass in [false, true] {
            for (i, source) in text.sources.enumerated() {
                let quota = isSecondPass ? byteBudget : Int(Double(byteBudget) * source.share / max(shares, 1e-9))
                let start = collector.totals.bytes
                while !collector.isFull, collector.totals.bytes - start < quota, let file = left[i].popFirst() {
                    let problem = try collector.add(
                        file: file.path, entry: file.entry, suits: FoundText.isWritten)
                    if problem != nil { collector.skipUnreadable(file.path) }
                    if collector.totals.files % 64 == 0 { progress(collector.totals) }
                }
            }
        }
        progress(collector.totals)
        guard !collector.documents.isEmpty else {
            throw .nothingUsable(paths: ["this machine's own software"], totals: collector.totals)
        }
        return collector.corpus
    }
}
