public import Foundation

/// A model in llama.cpp's format, mapped into memory: one file, or the first of several that belong together.
///
/// The head is checked when it is opened, tensors are read when they are used.
public final class GGUFFile: Sendable {
    /// Where it was opened.
    public let path: String
    /// What the file says of itself and its model, by key; of several files what the first says.
    public let metadata: [String: GGUFValue]
    /// Sorted.
    public let names: [String]

    private let places: [String: Place]

    struct Place: Sendable {
        let file: MappedFile
        let tensor: GGUFTensor
    }

    /// - Throws: the `CheckpointError` that names the first thing wrong with a file.
    public init(_ url: URL) throws(CheckpointError) {
        path = url.path
        let (file, head) = try Self.open(path)
        metadata = head.metadata
        var places: [String: Place] = [:]
        func add(_ head: GGUFHead, _ file: MappedFile) throws(CheckpointError) {
            for tensor in head.tensors {
                guard places.updateValue(Place(file: file, tensor: tensor), forKey: tensor.name) == nil else {
                    throw .duplicateTensor(path: file.path, tensor: tensor.name)
                }
            }
        }
        try add(head, file)
        for other in try Self.otherFiles(path, head.metadata) {
            let (file, head) = try Self.open(other)
            try add(head, file)
        }
        self.places = places
        names = places.keys.sorted()
    }

    /// Whether a path that a person gave for a model means such a file, by its name alone.
    public static func isNamed(by url: URL) -> Bool {
        var isFolder: ObjCBool = false
        let exists = FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder)
        return url.pathExtension.lowercased() == "gguf" && !(exists && isFolder.boolValue)
    }

    private static func open(_ path: String) throws(CheckpointError) -> (MappedFile, GGUFHead) {
        let file = try MappedFile(path: path)
        return (file, try GGUFHead(file.bytes, path: path))
    }

    /// `NAME-00001-of-00003.gguf` has two others.
    private static func otherFiles(
        _ path: String, _ metadata: [String: GGUFValue]
    ) throws(CheckpointError) -> [String] {
        guard let count = metadata["split.count"]?.integer, count > 1 else { return [] }
        func padded(_ number: Int) -> String { String(format: "%05d", number) }
        let ending = "-\(padded(1))-of-\(padded(count)).gguf"
        guard count <= 99_999, path.hasSuffix(ending) else {
            throw .unsupportedGGUF(
                path: path, what: "it is one of \(count) files; give the first, whose name ends in \(ending)")
        }
        let stem = path.dropLast(ending.count)
        return (2...count).map { "\(stem)-\(padded($0))-of-\(padded(count)).gguf" }
    }

    /// A tensor's place; nil without one of that name.
    func place(_ name: String) -> Place? { places[name] }

    /// The shape of a tensor, outermost axis first; nil without one of that name.
    public func shape(of name: String) -> [Int]? { places[name]?.tensor.shape }

    /// The number format of a tensor; nil without one of that name.
    public func type(of name: String) -> GGMLType? { places[name]?.tensor.type }

    /// The bytes of a tensor as they lie in the file; nil without one of that name.
    package func bytes(of name: String) -> MappedBytes? {
        places[name].map { place in
            let first = place.tensor.fileOffset
            return MappedBytes(file: place.file, range: first..<first + place.tensor.byteCount)
        }
    }

    /// Bytes of all tensors.
    public var byteCount: Int { places.values.reduce(0) { $0 + $1.tensor.byteCount } }
}
