import Foundation
import GlimCheckpoint
import GlimTestSupport
import GlimText
import GlimTrain
import Testing

@Suite("tokenizers in GGUF files") struct TokenListTests {
    private static let folder = URL(filePath: #filePath).appending(path: "../../Golden").standardizedFileURL
    private static func samples() throws -> [String] {
        try JSONDecoder().decode(
            [String].self, from: Data(contentsOf: folder.appending(path: "tokenizers/samples.json")))
    }

    private static func trained() throws -> Tokenizer {
        var trainer = TokenizerTrainer(vocabularySize: 700)
        trainer.add([[UInt8](try Data(contentsOf: folder.appending(path: "tokenizers/corpus.txt")))])
        return try trainer.train()
    }

    @Test("give the ids that llama.cpp gives (Tools/gguf_golden.py)") func ids() throws {
        let file = Self.folder.appending(path: "gguf/tokens/glm.gguf")
        let tokenizer = try Tokenizer(model: file)
        let expected = try JSONDecoder().decode(
            [[Int32]].self, from: Data(contentsOf: file.deletingLastPathComponent().appending(path: "glm.ids.json")))
        let samples = try Self.samples()
        #expect(samples.count == expected.count && samples.count > 400)
        for (text, ids) in zip(samples, expected) {
            #expect(tokenizer.encode(text, special: true) == ids, "\(text.debugDescription)")
        }
        // The unused tokens at the end are left out.
        #expect(tokenizer.vocabularySize == 1212)
        #expect(throws: TokenizerError.self) {
            try Tokenizer(model: Self.folder.appending(path: "gguf/sparse/f32.gguf"))
        }
    }

    @Test("a list and back gives the same ids") func roundTrip() throws {
        let tokenizer = try Self.trained()
        let list = try tokenizer.list(vocabularySize: tokenizer.vocabularySize + 7)
        #expect(list.tokens.count == tokenizer.vocabularySize + 7 && list.kinds.last == .unused)
        let again = try Tokenizer(list, path: "list")
        #expect(again.vocabularySize == tokenizer.vocabularySize)
        for text in try Self.samples() {
            #expect(again.encode(text, special: true) == tokenizer.encode(text, special: true))
            #expect(again.encode(text) == tokenizer.encode(text))
        }
        // Tokens that want something of their surroundings have no place in a list.
        #expect(throws: TokenizerError.self) {
            try Tokenizer(file: Self.folder.appending(path: "tokenizers/glm.json")).list(vocabularySize: 1300)
        }
    }

    @Test("a list that contradicts itself is an error") func contradictions() throws {
        let good = try Self.trained().list(vocabularySize: 0)
        func refused(_ change: (inout TokenList) -> Void) {
            var list = good
            change(&list)
            let error = #expect(throws: TokenizerError.self) { try Tokenizer(list, path: "some.gguf") }
            #expect(error?.description.contains("some.gguf") == true)
        }
        refused { $0.kinds.removeLast() }
        refused { $0.tokens[3] = $0.tokens[4] }
        refused { $0.merges[0] = "a" }
        refused { $0.merges[0] = "zzzz qqqq" }
        refused { $0.kinds[5] = .byte }
        refused { $0.tokens[0] = "\u{10FFFF}" }
        refused { ($0.tokens, $0.kinds) = ([], []) }
    }
}
