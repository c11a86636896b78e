import GlimTensor
import GlimText

extension MixedLoader {
    /// The rows that a recipe asks for, from its first context stage on.
    ///
    /// - Parameters:
    ///   - recipe: validated.
    ///   - say: is told the mixture.
    /// - Throws: `RunError` and `DataError`, where there is no such mixture or no text.
    package init(_ recipe: TrainRecipe, _ material: RunMaterial, say: (String) -> Void) throws {
        if recipe.stage == .sft {
            try self.init(recipe, conversations: material)
            return
        }
        let mixture = try RowMixture(recipe, material, say: say)
        self.init(try recipe.rowLengths.indices.map { try mixture.stage($0) })
    }
}

/// The sources of rows that a recipe's mixture names: text as it is, cut into rows, and documents that are built when a
/// row wants them. A function of the recipe and the text.
private struct RowMixture {
    /// A kind, its share, and what builds its documents; nil for text as it is.
    private let parts: [(kind: DataMixture.Kind, share: Double, builder: (any DocumentBuilder)?)]
    private let recipe: TrainRecipe
    private let material: RunMaterial

    /// - Parameter recipe: validated.
    init(_ recipe: TrainRecipe, _ material: RunMaterial, say: (String) -> Void) throws {
        (self.recipe, self.material) = (recipe, material)
        let mixture = try recipe.dataMixture()
        let text = material.text.training
        lazy var haystack = Haystack(text)
        parts = mixture.parts.map { kind, share in
            (kind, share, kind.builder(text, haystack, seed: recipe.seed))
        }
        if parts.count > 1 {
            let shares = parts.map { "\($0.kind.rawValue) \(Int(($0.share * 100).rounded()))%" }
            say("rows: \(shares.joined(separator: ", "))")
        }
    }

    /// The sources of one context stage. Each stage, and each stage of training, has orders of its own.
    func stage(_ number: Int) throws(DataError) -> MixedLoader.Stage {
        let length = recipe.rowLengths[number]
        let isFirst = recipe.stage == .pretrain && number == 0
        let purpose = "rows.\(recipe.stage.rawValue).\(number)"
        let seed = isFirst ? recipe.seed : CounterRandom(seed: recipe.seed, purpose: purpose).bits(0)
        var sources: [any RowSource] = []
        for part in parts {
            if let builder = part.builder {
                // Stages go on where others cannot have been.
                let first = (TrainRecipe.Stage.allCases.firstIndex(of: recipe.stage) ?? 0) * 16 + min(number, 15)
                sources.append(rows(of: part.kind, builder, length: length, firstDocument: first << 32))
            } else {
                sources.append(try PackedLoader(material.store, sequenceLength: length, seed: seed))
            }
        }
        return MixedLoader.Stage(length: length, sources: sources, shares: parts.map(\.share))
    }

    /// Rows of built documents: each as long as the row has room for, until little is left. Needles come in shorter ones
    /// as well, in which looking is learned much sooner.
    private func rows(
        of kind: DataMixture.Kind, _ builder: any DocumentBuilder, length: Int, firstDocument: Int
    ) -> MadeRows {
        let (tokenizer, bytesPerToken) = (material.tokenizer, material.bytesPerToken)
        let lengths = CounterRandom(seed: recipe.seed, purpose: "rows.lengths.\(length)")
        return MadeRows { index in
            var documents: [[Int32]] = []
            var room = length
            for i in 0..<Self.documentsPerRow where room >= Self.leastRoom || i == 0 {
                // Rows follow each other in the order of the builder, whose numbers go round its texts.
                let number = firstDocument + (i << 24) + index
                let halvings = kind == .needle ? lengths.integer(UInt64(number), below: 3) : 0
                let document = Self.document(
                    builder, number, room: min(room, max(Self.shortest, length >> halvings)), tokenizer, bytesPerToken)
                documents.append(document)
                room -= document.count
            }
            return PackedRow(TokenStore(documents), length: length, padding: tokenizer.endOfText)
        }
    }

    /// A document of about `room` tokens, its end included, and never more.
    private static func document(
        _ builder: any DocumentBuilder, _ number: Int, room: Int, _ tokenizer: Tokenizer, _ bytesPerToken: Double
    ) -> [Int32] {
        var (width, best): (Double, [Int32]) = (bytesPerToken, [])
        for _ in 0..<4 {
            let byteCount = max(1, Int(Double(room - 1) * width))
            let tokens = tokenizer.encode(builder.document(number, byteCount: byteCount).bytes)
            if tokens.count < room, tokens.count > best.count { best = tokens }
            if tokens.count < room, tokens.count * 10 >= room * 9 { break }
            // Words are wider or narrower tokens than the text's: aim a little below what fits.
            width = 0.97 * Double(byteCount) / Double(max(1, tokens.count))
        }
        return best + [tokenizer.endOfText]
    }

    private static let documentsPerRow = 8
    /// Tokens, below which the rest of a row is filled up.
    private static let leastRoom = 64
    /// Tokens of the shortest documents, where there is room for more.
    private static let shortest = 128
}
