import Foundation
import GlimEngine
import GlimModel
import GlimTestSupport
import GlimText
import Testing

@Suite("rules of a reply") struct ReplyRuleTests {
    private let tokenizer: Tokenizer
    private let model: Model

    init() throws {
        tokenizer = try Tokenizer(file: Golden.folder.appending(path: "tokenizers/glm.json"))
        let count = tokenizer.vocabularySize
        model = Tiny.model(
            Tiny.config(2).with {
                // More ids than words, as large models have.
                ($0.vocabularySize, $0.mtpLayerCount, $0.maximumPositions) = (count + 5, 1, 2048)
            }, 2)
    }

    /// Answers requests by one engine, with drafts.
    private func answer(_ requests: [Engine.Request]) throws -> [Answer] {
        var options = Engine.Options(cacheByteCount: 200 * CacheLayout(model.config).pageByteCount)
        options.drafts = 2
        options.draftCosts = .init(step: 1, row: 0.01, guess: 0.01)
        let loop = try EngineLoop(model, version: 0, options)
        let answers = try requests.map { request in
            let answer = Answer()
            _ = try loop.submit(request) { _ in answer.sink }
            return answer
        }
        while loop.next() {}
        let metrics = loop.latestMetrics
        #expect(metrics.active == 0 && metrics.waiting == 0 && metrics.usedPages == 0, "\(metrics)")
        return answers
    }

    private func text(_ tokens: some Sequence<Engine.Token>) throws -> String {
        String(decoding: try tokenizer.decode(tokens.map(\.id)), as: UTF8.self)
    }

    @Test("a reply fits its schema, alone and among others, with drafts") func schema() throws {
        let schema = try JSONSchema(
            parsing: """
                {"type": "object", "properties": {"a": {"enum": ["x", "yy"]}, "b": {"type": "boolean"}},
                "required": ["a", "b"], "additionalProperties": false}
                """.utf8)
        let stop = try #require(tokenizer.id(of: .endOfText))
        let constraint = TokenConstraint(schema, TokenTrie(tokenizer), stops: [stop])
        let requests = (0..<8).map { seed in
            var request = Engine.Request(
                prompt: [1, 2, 3], maxTokens: 300, sampler: Sampler(temperature: 2, seed: UInt64(seed)), stops: [stop])
            request.rule = ReplyRule(tokenizer, constraint: constraint)
            return request
        }
        var whole = 0
        for (request, answer) in zip(requests, try answer(requests)) {
            let lone = Lone.draw(model, request, after: [], count: 300).tokens
            #expect(answer.tokens.map(\.id) == lone.map(\.id))
            expectSame(answer.tokens.map(\.logprob), lone.map(\.logprob), "seed \(request.sampler.seed)")
            guard answer.ending?.reason == .stop else { continue }
            whole += 1
            let reply = answer.tokens.last?.id == stop ? answer.tokens.dropLast() : answer.tokens[...]
            let bytes = try tokenizer.decode(reply.map(\.id))
            let value = try JSON(parsing: bytes)
            #expect(["x", "yy"].contains(value["a"]?.string) && value["b"]?.bool != nil, "\(value)")
        }
        #expect(whole > 0)
    }

    @Test("where nothing may come a request ends with one error, and no other notices", arguments: 0..<9)
    func deadEnd(count: Int) throws {
        // Long enough to be guessed right now and then, short enough for a page's end to be among the places.
        let prompt = (0..<60).map { Int32($0 % 7) }
        let free = Engine.Request(prompt: prompt, maxTokens: 20, sampler: Sampler(temperature: 0), stops: [])
        var blocked = free
        blocked.rule = DeadEndRule(vocabulary: model.config.vocabularySize, left: count)
        let lone = Lone.draw(model, free, after: [], count: 20).tokens
        let answers = try answer([free, blocked, free])
        #expect(answers[1].error == .nothingAllowed(position: 60 + count) && answers[1].ending == nil)
        #expect(answers[1].tokens.map(\.id) == lone.prefix(count).map(\.id))
        for answer in [answers[0], answers[2]] {
            #expect(answer.error == nil && answer.ending?.reason == .length)
            #expect(answer.tokens.map(\.id) == lone.map(\.id))
        }
        // A prompt of one token has no row left then.
        var short = blocked
        short.prompt = [1]
        #expect(try answer([short]).first?.error == .nothingAllowed(position: 1 + count))
    }

    @Test("a schema that the vocabulary cannot spell is one error") func unspelled() throws {
        // A model with fewer ids than its tokenizer has words; none of the document's is among them.
        let few = Tiny.model(model.config.with { ($0.vocabularySize, $0.mtpLayerCount) = (5, 0) }, 2)
        let schema = try JSONSchema(parsing: #"{"const": 7}"#.utf8)
        var request = Engine.Request(prompt: [1, 2], maxTokens: 9, stops: [])
        request.rule = ReplyRule(
            tokenizer, constraint: TokenConstraint(schema, TokenTrie(tokenizer), stops: []))
        let loop = try EngineLoop(
            few, version: 0, .init(cacheByteCount: 10 * CacheLayout(few.config).pageByteCount))
        let answer = Answer()
        _ = try loop.submit(request) { _ in answer.sink }
        while loop.next() {}
        #expect(answer.error == .nothingAllowed(position: 2) && answer.tokens.isEmpty)
        #expect(loop.latestMetrics.failed == 1 && loop.latestMetrics.usedPages == 0)
    }

    @Test("a text that ends a reply ends it with the token that completes it") func stopStrings() throws {
        let free = Engine.Request(prompt: [5, 6], maxTokens: 60, sampler: Sampler(seed: 3), stops: [])
        let plain = try #require(try answer([free]).first)
        let ids = plain.tokens.map(\.id)
        // What two tokens write together, where that is text: the pieces of a character are none.
        let stops = try ids.indices.dropLast().compactMap { place in
            String(validating: try tokenizer.decode(Array(ids[place...place + 1])), as: UTF8.self).map { (place, $0) }
        }
        try #require(stops.count > 10)
        for (place, stop) in stops where !stop.isEmpty {
            var request = free
            request.rule = ReplyRule(tokenizer, stops: [stop])
            let found = try #require(try answer([request]).first)
            let count = found.tokens.count
            #expect(count <= place + 2 && found.tokens.map(\.id) == Array(ids[..<count]))
            #expect(found.ending?.reason == .stop)
            // It is there, and was not before the last token.
            #expect(try text(found.tokens).contains(stop) && !text(found.tokens.dropLast()).contains(stop))
        }
    }
}
