import Foundation
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

@Suite("generation") struct GeneratorTests {
    private let model = Tiny.model(1)

    private func generate(
        _ sampler: Sampler, prompt: [Int32] = [1, 2, 3], count: Int = 30, stops: Set<Int32>? = nil
    ) -> [GeneratedToken] {
        var generator = Generator(model, sampler: sampler, stops: stops)
        generator.feed(prompt)
        return (0..<count).compactMap { _ in generator.next() }
    }

    @Test("the same seed draws the same tokens, another seed others") func seeds() {
        let first = generate(Sampler(seed: 1))
        #expect(first.count == 30)
        #expect(generate(Sampler(seed: 1)) == first)
        #expect(generate(Sampler(seed: 2)).map(\.id) != first.map(\.id))
    }

    @Test("temperature 0 takes the most probable token") func greedy() {
        let found = generate(Sampler(temperature: 0)).map(\.id)
        var tokens: [Int32] = [1, 2, 3]
        for id in found {
            let logits = Scorer(model).logits(tokens).suffix(model.config.vocabularySize)
            #expect(Int(id) == logits.firstIndex(of: logits.max()!)! - logits.startIndex)
            tokens.append(id)
        }
        #expect(found == generate(Sampler(temperature: 0, seed: 99)).map(\.id))
    }

    @Test("nothing is drawn after a stop token, which is itself the last") func stops() throws {
        let free = generate(Sampler(seed: 1), stops: []).map(\.id)
        let stop = try #require(free.dropFirst(5).first { !free.prefix(5).contains($0) })
        let found = generate(Sampler(seed: 1), stops: [stop]).map(\.id)
        #expect(found == Array(free[...free.firstIndex(of: stop)!]))
    }

    @Test("the model's own end-of-text tokens stop it") func endOfText() {
        var ending = model
        ending.config.endOfTextIDs = Array(0..<model.config.vocabularySize)
        var generator = Generator(ending, sampler: Sampler())
        generator.feed([1])
        #expect(generator.next() != nil && generator.next() == nil && generator.next() == nil)
    }

    @Test("generation ends with the context") func room() {
        var short = model
        short.config.maximumPositions = 10
        var generator = Generator(short, sampler: Sampler(), stops: [])
        generator.feed([1, 2, 3, 4])
        #expect(generator.room == 6)
        var positions: [Int] = []
        while let token = generator.next() { positions.append(token.position) }
        #expect(positions.prefix(6) == [4, 5, 6, 7, 8, 9] && generator.cache.count <= 10)
    }

    @Test("a prompt fed in any pieces gives the same reply", arguments: 0..<4) func pieces(seed: Int) {
        var draw = Draw(seed)
        let prompt = draw.tokens(700, below: model.config.vocabularySize)
        let expected = generate(Sampler(seed: 3), prompt: prompt, count: 5, stops: [])
        var generator = Generator(model, sampler: Sampler(seed: 3), stops: [])
        var first = 0
        for count in draw.parts(of: prompt.count, upTo: 300) {
            generator.feed(Array(prompt[first..<first + count]))
            first += count
        }
        #expect((0..<5).compactMap { _ in generator.next() } == expected)
    }

    @Test("a second turn goes on from the cache of the first") func turns() {
        let first = generate(Sampler(seed: 4), count: 8, stops: [])
        var generator = Generator(model, sampler: Sampler(seed: 4), stops: [])
        generator.feed([1, 2, 3])
        let again = (0..<8).compactMap { _ in generator.next() }
        #expect(again == first)
        // The last token drawn has not been read yet: it opens the next turn.
        #expect(generator.cache.count == 3 + 7)
        var second = Generator(model, sampler: Sampler(seed: 4), stops: [], cache: generator.cache)
        let turn = [first[7].id, 5, 6]
        second.feed(turn)
        let reply = (0..<8).compactMap { _ in second.next() }
        #expect(
            reply
                == generate(
                    Sampler(seed: 4), prompt: [1, 2, 3] + first.prefix(7).map(\.id) + turn, count: 8, stops: []))
    }

    @Test("penalties know what was fed and drawn, the same with drafts and over turns") func penalties() {
        var sampler = Sampler(temperature: 0.5, seed: 2)
        (sampler.repetitionPenalty, sampler.frequencyPenalty, sampler.presencePenalty) = (1.2, 0.7, 0.3)
        let model = Tiny.model(Tiny.config(5).with { $0.mtpLayerCount = 1 }, 5)
        func run(drafts: Int) -> [[GeneratedToken]] {
            var generator = Generator(model, sampler: sampler, stops: [], drafts: drafts)
            let turns: [[Int32]] = [[1, 2, 3], [4, 4]]
            return turns.map { turn in
                generator.feed(turn)
                return (0..<20).compactMap { _ in generator.next() }
            }
        }
        let found = run(drafts: 0)
        for drafts in [1, 3] { #expect(run(drafts: drafts) == found) }
        // By the definition: a pass over everything for each token.
        var all: [Int32] = [1, 2, 3]
        for turn in found {
            var counts = TokenCounts(prompt: all)
            for token in turn {
                let logits = Scorer(model).logits(all).suffix(model.config.vocabularySize)
                let id = Array(logits).withUnsafeBufferPointer {
                    sampler.draw($0, position: all.count, counts: counts)
                }
                #expect(token.id == id)
                counts.add(id)
                all.append(id)
            }
            // The last is not in the sequence.
            all.removeLast()
            all += [4, 4]
        }
    }

    @Test("one cache twice in a batch is a caller's mistake, which traps") func sameCacheTwice() async {
        await #expect(processExitsWith: .failure) {
            let model = Tiny.model(1)
            let cache = model.makeCache()
            _ = model.hidden(Batch([([1], cache), ([2], cache)]))
        }
    }
}
