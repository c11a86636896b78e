import Foundation
import GlimText
import Testing

@Suite("tokenizer trainer") struct TokenizerTrainerTests {
    func trained(_ size: Int, _ documents: [[UInt8]], threads: Int = 1) throws -> Tokenizer {
        var trainer = TokenizerTrainer(vocabularySize: size, threads: threads)
        trainer.add(documents)
        return try trainer.train()
    }

    @Test("merges and ids are those of Hugging Face's trainer") func agrees() throws {
        struct Model: Decodable {
            struct Body: Decodable {
                let vocab: [String: Int]
                let merges: [[String]]
            }
            let model: Body
        }
        let corpus = [UInt8](try Golden.data("corpus.txt"))
        let tokenizer = try trained(256 + 900 + 64, [corpus])
        let model = try JSONDecoder().decode(Model.self, from: tokenizer.json()).model
        let golden = try JSONSerialization.jsonObject(with: Golden.data("trained.json")) as? [Any]
        let vocabulary = try #require(golden?.first as? [String])
        #expect(model.merges == golden?.last as? [[String]])
        #expect(model.vocab == Dictionary(uniqueKeysWithValues: zip(vocabulary, 0...)))
    }

    @Test("the vocabulary has the size asked for, and GLM's control tokens after the merges") func layout() throws {
        let tokenizer = try trained(400, [Array("aaa aab ab ab aab, the cat sat".utf8)])
        #expect(tokenizer.vocabularySize == 400)
        let added = tokenizer.addedTokens
        #expect(added.prefix(36).map(\.content) == ControlToken.allCases.map(\.rawValue))
        #expect(added.dropFirst(36).allSatisfy { $0.content.hasPrefix("<|reserved_") && $0.isSpecial })
        #expect(added.last?.id == 399)
        #expect(added.count >= 64)
        #expect(Set(added.filter { !$0.isSpecial }.map(\.content)).count == 11)
        let text = "aaa<|user|>"
        #expect(tokenizer.encode(text, special: true).last == tokenizer.id(of: .user))
        #expect(try tokenizer.decodeText(tokenizer.encode(text)) == text)
    }

    @Test("the number of threads and the cut into calls change nothing", arguments: [2, 3, 8])
    func deterministic(threads: Int) throws {
        // Long enough to be cut into several stretches.
        let corpus = [UInt8](try Golden.data("corpus.txt"))
        let long = (0..<60).flatMap { _ in corpus }
        let documents = [long, Array("A short one".utf8), [], corpus]
        let expected = try trained(700, documents).json()
        #expect(try trained(700, documents, threads: threads).json() == expected)
        var trainer = TokenizerTrainer(vocabularySize: 700, threads: threads)
        for document in documents.reversed() { trainer.add(CollectionOfOne(document)) }
        #expect(try trainer.train().json() == expected)
    }

    @Test("digits stand apart where the pattern says so, in the saved file too") func digits() throws {
        func pieces(_ pattern: SplitPattern) throws -> [Int] {
            var trainer = TokenizerTrainer(vocabularySize: 400)
            trainer.pattern = pattern
            trainer.add(Array(repeating: Array("word 1234 word 1234 ".utf8), count: 50))
            let tokenizer = try trainer.train()
            let saved = try Tokenizer(json: tokenizer.json())
            #expect(saved.pattern == pattern)
            #expect(try saved.decodeText(saved.encode("1234")) == "1234")
            return [tokenizer, saved].map { $0.encode("1234").count }
        }
        #expect(try pieces(.glm) == [2, 2] && pieces(.qwen2) == [4, 4])
    }

    @Test("a trained tokenizer survives saving") func survives() throws {
        let corpus = [UInt8](try Golden.data("corpus.txt"))
        let tokenizer = try trained(600, [corpus])
        let loaded = try Tokenizer(json: tokenizer.json())
        #expect(loaded.json() == tokenizer.json())
        for text in try Golden.samples() {
            #expect(loaded.encode(text, special: true) == tokenizer.encode(text, special: true))
        }
    }

    @Test("nothing to learn from still gives a tokenizer, and too small a size an error") func edges() throws {
        let tokenizer = try trained(4096, [])
        #expect(tokenizer.vocabularySize == 4096)
        #expect(try tokenizer.decodeText(tokenizer.encode("any é")) == "any é")
        for size in [-1, 0, 319, Int.max] {
            #expect(throws: TokenizerError.vocabularySize(size, allowed: 320...1 << 24)) { try trained(size, []) }
        }
        #expect(try trained(320, [Array("aaaa".utf8)]).vocabularySize == 320)
    }

    @Test("a pair seen too seldom is not merged") func minimum() throws {
        var trainer = TokenizerTrainer(vocabularySize: 400, threads: 1)
        trainer.minimumCount = 3
        trainer.add([Array("ab ab ab cd cd".utf8)])
        let tokenizer = try trainer.train()
        #expect(tokenizer.encode("ab").count == 1)
        #expect(tokenizer.encode("cd").count == 2)
    }
}
