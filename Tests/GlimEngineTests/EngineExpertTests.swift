import Foundation
import GlimEngine
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

/// The engine with a model whose experts are on disk.
@Suite("engine with experts from disk") struct EngineExpertTests {
    private static func withModels(_ body: (_ whole: Model, _ streamed: Model, URL) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "glim-test-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        let config = Tiny.config(2).with {
            ($0.denseLayerCount, $0.mtpLayerCount, $0.computeType) = (0, 1, .float32)
            ($0.groupCount, $0.groupsKept, $0.routedExpertCount, $0.expertsPerToken) = (1, 1, 8, 2)
        }
        try Tiny.model(config, 2).save(to: folder)
        var plan = try MemoryPlan(folder: folder, .init(memory: 1 << 50, programByteCount: 0, positions: 256))
        (plan.isStreamed, plan.heldExpertByteCount) = (true, 3 * plan.largestExpertByteCount)
        try await body(Model(folder: folder, format: .inference), Model(folder: folder, memory: plan), folder)
    }

    private static func options(_ model: Model, drafts: Int) -> Engine.Options {
        var options = Engine.Options(cacheByteCount: 60 * CacheLayout(model.config).pageByteCount)
        options.drafts = drafts
        options.draftCosts = .init(step: 1, row: 0, guess: 0)
        return options
    }

    private static func draw(_ engine: Engine, _ seed: Int) async throws -> [Engine.Token] {
        let prompt = (0...Int32(7 * seed)).map { $0 * 3 % 11 }
        let request = Engine.Request(
            prompt: prompt, maxTokens: 15, sampler: Sampler(seed: UInt64(seed)), stops: [])
        var tokens: [Engine.Token] = []
        for try await event in try engine.submit(request) { if case .token(let token) = event { tokens.append(token) } }
        return tokens
    }

    @Test("many at a time get what they get of the model in memory", arguments: [0, 2])
    func many(drafts: Int) async throws {
        try await Self.withModels { whole, streamed, _ in
            var replies: [[[Engine.Token]]] = []
            for model in [whole, streamed] {
                let engine = try Engine(model, options: Self.options(model, drafts: drafts))
                let found = try await withThrowingTaskGroup(of: (Int, [Engine.Token]).self) { group in
                    for seed in 0..<6 { group.addTask { (seed, try await Self.draw(engine, seed)) } }
                    return try await group.reduce(into: [[Engine.Token]](repeating: [], count: 6)) { $0[$1.0] = $1.1 }
                }
                await engine.stop()
                replies.append(found)
            }
            #expect(replies[0] == replies[1] && replies[0].allSatisfy { $0.count == 15 })
            #expect(streamed.expertStream?.statistics.readByteCount ?? 0 > 0)
        }
    }

    @Test("a file that changes ends every request with one error, and the engine goes on to say so") func damaged()
        async throws
    {
        try await Self.withModels { _, streamed, folder in
            let engine = try Engine(streamed, options: Self.options(streamed, drafts: 0))
            _ = try await Self.draw(engine, 1)
            let file = try FileHandle(forUpdating: folder.appending(path: "model.safetensors"))
            try file.truncate(atOffset: 1000)
            try file.close()
            for seed in [2, 3] {
                do {
                    // Some experts are still in memory: it may take a few tokens.
                    for _ in 0..<20 { _ = try await Self.draw(engine, seed) }
                    Issue.record("a file of 1000 bytes was enough")
                } catch EngineError.experts(let reason) {
                    #expect(reason.contains("model.safetensors") && reason.contains("changed"))
                }
            }
            #expect(engine.metrics.active == 0)
            await engine.stop()
        }
    }
}
