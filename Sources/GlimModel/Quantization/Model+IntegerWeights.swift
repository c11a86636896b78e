import GlimTensor

extension Model {
    /// What `config.json` says of the model's integers, nil without any.
    var integerWeights: ModelConfig.IntegerWeights? {
        var kinds: [ModuleKind] = []
        var places: [String: Int] = [:]
        for tensor in tensors where tensor.shape.count == 2 {
            let (pattern, layer) = ModuleKind.pattern(of: tensor.name)
            // Not a linear module.
            if pattern.hasSuffix("embed_tokens") { continue }
            let i = places[pattern] ?? kinds.count
            if i == kinds.count {
                places[pattern] = i
                kinds.append(ModuleKind(pattern: pattern))
            }
            kinds[i].layers[ModuleKind.Storage(tensor), default: []].insert(layer)
        }
        let storages = Set(kinds.flatMap { $0.layers.keys.compactMap { $0 } })
        if storages.isEmpty { return nil }
        func targets(_ storage: ModuleKind.Storage?) -> [String] { kinds.flatMap { $0.targets(storage) } }
        return ModelConfig.IntegerWeights(
            groups: storages.sorted().map { .init(targets: targets($0), bits: $0.bits, size: $0.size) },
            ignored: targets(nil))
    }
}

/// Modules that differ in their layer, or in their expert, only.
private struct ModuleKind {
    struct Storage: Hashable, Comparable {
        let bits: Int
        let size: Int?

        init?(_ tensor: CheckpointTensor) {
            guard let format = tensor.integerFormat, let group = format.group else { return nil }
            // A group that does not divide the row is the whole row.
            (bits, size) = (format.bits, tensor.shape[1] % group == 0 ? group : nil)
        }

        static func < (a: Storage, b: Storage) -> Bool { (a.bits, a.size ?? 0) < (b.bits, b.size ?? 0) }
    }

    /// A regular expression with `LAYER` for the layer's number.
    let pattern: String
    /// By what they are stored in: nil for numbers. -1 is outside of layers.
    var layers: [Storage?: Set<Int>] = [:]

    init(pattern: String) { self.pattern = pattern }

    private static let layer = "LAYER"

    /// The pattern of a tensor's module, and its layer.
    static func pattern(of tensor: String) -> (String, layer: Int) {
        var words = tensor.split(separator: ".").dropLast().map(String.init)
        var layer = -1
        for i in words.indices.dropFirst() {
            guard let number = Int(words[i]) else { continue }
            if words[i - 1] == "layers" {
                (words[i], layer) = (Self.layer, number)
            } else {
                words[i] = "[0-9]+"
            }
        }
        return (words.joined(separator: "\\."), layer)
    }

    /// Names of those that are stored so, as the compressed-tensors library reads them.
    func targets(_ storage: Storage?) -> [String] {
        guard let chosen = layers[storage] else { return [] }
        if chosen == [-1] { return ["re:^\(pattern)$"] }
        let isAll = layers.count == 1
        let numbers = isAll ? "[0-9]+" : "(\(chosen.sorted().map(String.init).joined(separator: "|")))"
        return ["re:^\(pattern.replacing(Self.layer, with: numbers))$"]
    }
}
