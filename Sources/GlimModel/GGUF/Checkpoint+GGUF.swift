import GlimCheckpoint

extension Checkpoint {
    /// The tensors of a GGUF file under the names of Hugging Face's layout. Those that no model here has stay away.
    init(gguf file: GGUFFile) {
        var pieces: [String: GGUFPiece] = [:]
        for (name, ours) in GGUFNames.top { pieces[ours] = GGUFPiece(file, name) }
        let layers = Dictionary(uniqueKeysWithValues: GGUFNames.layer)
        for name in file.names {
            let words = name.split(separator: ".", maxSplits: 2)
            guard words.count == 3, words[0] == "blk", let layer = Int(words[1]), "\(layer)" == words[1] else {
                continue
            }
            let (rest, prefix) = (String(words[2]), "model.layers.\(layer).")
            if let ours = layers[rest] {
                pieces[prefix + ours] = GGUFPiece(file, name)
            } else if rest == GGUFNames.keyUp {
                pieces[prefix + GGUFNames.keyValue] = GGUFPiece(
                    file, keys: name, values: "blk.\(layer).\(GGUFNames.valueUp)")
            } else {
                Self.addExperts(name, rest, prefix, file, to: &pieces)
            }
        }
        self.init(gguf: file, pieces: pieces)
    }

    private static func addExperts(
        _ name: String, _ rest: String, _ prefix: String, _ file: GGUFFile, to pieces: inout [String: GGUFPiece]
    ) {
        // More experts than any config may have are none that it asks for.
        guard let shape = file.shape(of: name), shape.count == 3, shape[0] <= 4096 else { return }
        func add(_ projection: String, rows: Range<Int>) {
            for e in 0..<shape[0] {
                pieces["\(prefix)mlp.experts.\(e).\(projection).weight"] = GGUFPiece(file, name, matrix: e, rows: rows)
            }
        }
        if let (_, projection) = GGUFNames.experts.first(where: { $0.0 == rest }) {
            add(projection, rows: 0..<shape[1])
        } else if rest == GGUFNames.gateUpExperts {
            add("gate_proj", rows: 0..<shape[1] / 2)
            add("up_proj", rows: shape[1] / 2..<shape[1] / 2 * 2)
        }
    }
}
