import GlimTensor

extension Model {
    /// The same model with matrices in a scheme's integers; the others are this model's own weights, not copies.
    ///
    /// - Parameters:
    ///   - clips: what scales are multiplied with, by tensor; rounded to nearest without.
    ///   - modules: to quantise no others.
    ///   - shortKeys: whether keys are kept in fewer bits, as in files of such models; nil: where all modules are
    ///     quantised.
    ///   - holdsRestInBF16: embeddings and `kv_b_proj` are rounded to bf16, as files of such models have them.
    func quantized(
        _ scheme: Scheme, clips: [String: [Float]] = [:], only modules: Set<String>? = nil, shortKeys: Bool? = nil,
        holdsRestInBF16: Bool = false
    ) -> Model {
        var own: [String: [Weight]] = [:]
        for tensor in tensors where tensor.shape.count == 2 {
            for part in tensor.parts where !(own[tensor.name] ?? []).contains(where: { $0 === part.weight }) {
                own[tensor.name, default: []].append(part.weight)
            }
        }
        let tables = predictions.map { ModelTables(embedding: $0.embedding != nil, head: $0.head != nil) }
        let config = config.with { if shortKeys ?? (modules == nil) { $0.keepsShortKeys() } }
        var made = Model(config, mtpTables: tables) { matrix in
            if modules?.contains(matrix.module) ?? true, let format = scheme.format(matrix) {
                return MatrixForm(format: format)
            }
            if holdsRestInBF16, matrix.use == .other, !matrix.decides { return MatrixForm(format: .bf16) }
            // Of kv_b_proj first the keys' half, then the values': in the order in which both are made.
            guard let weight = own[matrix.tensor]?.removeFirst() else {
                preconditionFailure("quantized: no weight of \(matrix.tensor)")
            }
            return MatrixForm(shared: weight)
        }
        for (to, from) in zip(made.tensors, tensors) {
            if let format = to.integerFormat {
                guard let numbers = from.numbers() else { continue }
                let quantizer = Quantizer(format, inputs: to.shape[1])
                let part = to.parts[0]
                numbers.withElements { part.weight.set(quantizer($0, clip: clips[to.name]), matrix: part.matrix) }
            } else if to.parts.contains(where: { part in !from.parts.contains { $0.weight === part.weight } }) {
                from.numbers()?.withElements { to.fill(from: $0) }
            }
        }
        made.changed()
        made.config.integerWeights = made.integerWeights
        return made
    }

    /// What each weight is quantised to by a scheme.
    func formats(_ scheme: Scheme) -> [ObjectIdentifier: Weight.Format] {
        let tables = predictions.map { ModelTables(embedding: $0.embedding != nil, head: $0.head != nil) }
        let plan = Model(config, mtpTables: tables, isBlueprint: true) { MatrixForm(quantization: scheme.format($0)) }
        var formats: [ObjectIdentifier: Weight.Format] = [:]
        for (planned, own) in zip(plan.tensors, tensors) {
            formats[ObjectIdentifier(own.parts[0].weight)] = planned.integerFormat
        }
        return formats
    }
}
