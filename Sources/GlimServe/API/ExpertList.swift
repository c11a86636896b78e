import GlimText

/// What `/experts` answers: how many tokens each expert got, by layer.
enum ExpertList {
    static func list(_ tokens: [Int: [Int]]) -> JSON {
        let layers = tokens.sorted { $0.key < $1.key }.map { layer, tokens in
            JSON.object(of: ["layer": .integer(layer), "tokens": .array(tokens.map(JSON.integer))])
        }
        return .object(of: ["layers": .array(layers)])
    }
}
