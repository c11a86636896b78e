import GlimModel
import GlimTestSupport
import Testing

@Suite("what a deployed token costs") struct ModelCostTests {
    /// Numbers of each matrix, two layers of attention and indexers: q_a, q_b and o 16,384, kv_a 20,480, kv_b 24,576;
    /// wq_b 16,384, wk 8192, head weights 256; the dense MLP 98,304; an expert 49,152; the router 512; the head 128,000.
    private static let config = ModelConfig().with {
        ($0.vocabularySize, $0.hiddenSize, $0.denseWidth, $0.expertWidth) = (1000, 128, 256, 128)
        ($0.layerCount, $0.denseLayerCount, $0.mtpLayerCount) = (2, 1, 0)
        ($0.headCount, $0.queryLatent, $0.latent) = (2, 128, 128)
        ($0.keyPlain, $0.keyRotated, $0.valueWidth) = (32, 32, 64)
        ($0.routedExpertCount, $0.sharedExpertCount, $0.expertsPerToken) = (4, 1, 2)
        $0.indexer = .init(headCount: 2, headWidth: 64, topK: 16, kinds: [.full, .full])
        // What the file was saved in makes no difference.
        ($0.dtype, $0.scaleBlock) = (.float32, .init(rows: 128, columns: 128))
    }

    private func cost(_ cost: ModelCost, _ name: String) throws -> ModelCost.Part {
        try #require(cost.parts.first { $0.name == name })
    }

    private func isNear(_ a: Double, _ b: Double) -> Bool { abs(a - b) <= 1e-9 * b }

    @Test("BF16 reads two bytes of a weight and every position") func dense() throws {
        try Self.config.validate()
        let dense = try #require(Self.config.deploymentCost(context: 99, chunk: 512)).bf16Dense
        let numbers = ["attention": 188_416.0, "dense MLPs": 98_304, "shared experts": 49_152, "head": 128_000]
        for (name, count) in numbers {
            #expect(
                try cost(dense, name)
                    == .init(name: name, operations: 2 * count, bytes: 2 * count, bf16Share: 1), "\(name)")
        }
        let routed = try cost(dense, "routed experts")
        #expect(routed.operations == 2 * 98_304 && isNear(routed.bytes, 2 * 98_304) && routed.bf16Share == 1)
        #expect(try cost(dense, "routers").bf16Share == 0)
        // Two layers, two heads, a key of 160 and a value of 128 numbers, a hundred positions.
        #expect(
            try cost(dense, "attention over positions")
                == .init(name: "attention over positions", operations: 230_400, bytes: 64_000))
        #expect(!dense.parts.contains { $0.name.contains("index") })
    }

    @Test("w4a8 reads integers and scales, the chosen positions, and a byte a number of each index key")
    func sparse() throws {
        let sparse = try #require(Self.config.deploymentCost(context: 99, chunk: 512)).w4a8Sparse
        // q_a, q_b, kv_a and o with 544 scales a layer, kv_b in bf16.
        let attention = try cost(sparse, "attention")
        #expect(isNear(attention.bytes, 2 * (69_632 + 4 * 544 + 2 * 24_576)))
        #expect(attention.operations == 2 * 188_416 && attention.integerShare == 2 * 69_632 / 188_416.0)
        // wq_b has 128 rows, a scale each; the rest stays bf16.
        #expect(isNear(try cost(sparse, "indexers").bytes, 2 * (16_384 + 4 * 128 + 2 * (8192 + 256))))
        // Two experts of 49,152 half bytes, with 384 rows.
        let routed = try cost(sparse, "routed experts")
        #expect(isNear(routed.bytes, 2 * (24_576 + 4 * 384)) && routed.integerShare == 1)
        #expect(isNear(try cost(sparse, "shared experts").bytes, 49_152 + 4 * 384))
        #expect(isNear(try cost(sparse, "head").bytes, 128_000 + 4 * 1000))
        #expect(
            try cost(sparse, "attention over positions")
                == .init(name: "attention over positions", operations: 36_864, bytes: 10_240))
        #expect(
            try cost(sparse, "indexing of positions")
                == .init(name: "indexing of positions", operations: 51_200, bytes: 13_600, integerShare: 1))
        #expect(sparse.parts.allSatisfy { $0.bf16Share == 0 })
    }

    @Test("a part takes as long as the longer of its bytes and its operations") func seconds() {
        let roofs = MachineRoofs(bytes: 10, f32: 2, bf16: 4, int8: 8)
        let cost = ModelCost(parts: [
            .init(name: "bytes", operations: 2, bytes: 30),  // 3 s
            .init(name: "f32", operations: 10, bytes: 1),  // 5 s
            .init(name: "mixed", operations: 16, bytes: 1, integerShare: 0.5, bf16Share: 0.25),  // 1 + 1 + 2 s
        ])
        #expect(cost.seconds(roofs) == 12)
        // Without fast bf16 it is widened: 1 + 2 + 2 s.
        #expect(cost.seconds(MachineRoofs(bytes: 10, f32: 2, bf16: 1, int8: 8)) == 13)
    }

    @Test("tokens in passes of a chunk cost the mean of their passes") func chunks() throws {
        let whole = try #require(Self.config.deploymentCost(context: 10, tokens: 7, chunk: 4))
        let passes = [(10, 4), (14, 3)].map { context, tokens in
            Self.config.deploymentCost(context: context, tokens: tokens, chunk: 4)!
        }
        for (all, first, second) in [
            (whole.bf16Dense, passes[0].bf16Dense, passes[1].bf16Dense),
            (whole.w4a8Sparse, passes[0].w4a8Sparse, passes[1].w4a8Sparse),
        ] {
            let bytes = (4 * first.bytesPerToken + 3 * second.bytesPerToken) / 7
            #expect(isNear(all.bytesPerToken, bytes))
            let operations = (4 * first.operationsPerToken + 3 * second.operationsPerToken) / 7
            #expect(isNear(all.operationsPerToken, operations))
        }
        // Nothing is scored in the first pass, 17 positions by 3 tokens in the second.
        #expect(isNear(try cost(whole.w4a8Sparse, "indexing of positions").bytes, 2 * 68 * 17 / 7.0))
        #expect(Self.config.with { ($0.family, $0.indexer) = (.lite, nil) }.deploymentCost(context: 9, chunk: 4) == nil)
    }

    @Test("GLM-5's long contexts cost less than half where memory is the limit") func report() throws {
        // A hundred operations a byte read.
        let roofs = MachineRoofs(bytes: 1, f32: 100, bf16: 100, int8: 100)
        let ratios = [0, 65_536, 131_072].map { ModelConfig.glm5.deploymentCost(context: $0, chunk: 512)!.ratio(roofs) }
        #expect(ratios[0] < 0.5 && ratios[1] < ratios[0] && ratios[2] < ratios[1])
    }
}
