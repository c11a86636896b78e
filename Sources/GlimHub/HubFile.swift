import Foundation

/// One file of a repository, as the hub lists it.
public struct HubFile: Sendable, Equatable {
    /// Within the repository, its parts separated by `/`.
    public let path: String
    /// In bytes.
    public let size: Int
    let content: ContentName

    init(path: String, size: Int, content: ContentName) {
        (self.path, self.size, self.content) = (path, size, content)
    }

    /// What it is called on its way: by what it will be, and where, for several files may be alike.
    var partName: String {
        let place = path.utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
        return "\(content.text)-\(String(place, radix: 16)).part"
    }

    /// Whether it may be put into a folder under its own path: each part a visible name.
    static func isSafe(_ path: String) -> Bool {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        return path.utf8.count <= 1024
            && parts.allSatisfy { part in
                !part.isEmpty && part.first != "."
                    && !part.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7F || $0 == "\\" }
            }
    }
}

extension [HubFile] {
    /// What makes up a model in Hugging Face's layout: the files of the top folder but weights of other kinds, and hidden
    /// ones. Where that has no safetensors, the one GGUF file, or the parts of one.
    func ofModel(_ repository: HubRepository) throws(HubError) -> [HubFile] {
        let top = filter { !$0.path.contains("/") && !$0.path.hasPrefix(".") }
        let others = [".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".ot", ".npz", ".mlmodel"]
        let plain = top.filter { file in !others.contains { file.path.lowercased().hasSuffix($0) } }
        if plain.contains(where: { $0.path.hasSuffix(".safetensors") }) { return plain }
        let packed = filter { $0.path.lowercased().hasSuffix(".gguf") }
        let models = Set(packed.map { Self.stem($0.path) })
        switch models.count {
        case 0:
            throw .nothingToPull(
                "\(repository)", reason: "it has no *.safetensors and no *.gguf; give another repository")
        case 1: return packed
        default:
            throw .nothingToPull(
                "\(repository)",
                reason: "it has \(models.count) GGUF models; give the files of one with --file, such as "
                    + (packed.map(\.path).min() ?? ""))
        }
    }

    /// The file without which nobody can load the model: its configuration, or the first part of a GGUF model.
    var entry: HubFile? {
        first { $0.path == "config.json" }
            ?? filter { $0.path.lowercased().hasSuffix(".gguf") }.min { $0.path < $1.path }
    }

    /// `a/b-00001-of-00003.gguf` is a part of `a/b`.
    private static func stem(_ path: String) -> String {
        let words = path.dropLast(".gguf".count).split(separator: "-", omittingEmptySubsequences: false)
        guard words.count > 3, words[words.count - 2] == "of", Int(words[words.count - 1]) != nil,
            Int(words[words.count - 3]) != nil
        else { return path }
        return words.dropLast(3).joined(separator: "-")
    }

    /// Those with these paths.
    func named(_ paths: [String], in repository: HubRepository) throws(HubError) -> [HubFile] {
        var found: [HubFile] = []
        for path in paths {
            guard let file = first(where: { $0.path == path }) else {
                throw .nothingToPull(
                    "\(repository)", reason: "it has no file \(path); its page lists those that it has")
            }
            if !found.contains(file) { found.append(file) }
        }
        return found
    }
}
