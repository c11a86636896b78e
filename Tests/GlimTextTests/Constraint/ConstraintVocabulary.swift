import Foundation
import GlimTestSupport
import GlimText

/// Vocabularies for tests of constraints.
enum ConstraintVocabulary {
    static let golden = Result { TokenTrie(try Golden.tokenizer("glm")) }

    /// Tokens as vocabularies have them at the borders of JSON's parts, and some that none would have.
    static let structural = Result { TokenTrie(try tokenizer(structuralTokens)) }

    /// The control tokens of every vocabulary made here.
    static let control = ["<|endoftext|>", "<|user|>", "</think>"]

    private static let structuralTokens: [[UInt8]] = {
        let texts = [
            "\",\"", "\":", "\": ", "\":\"", "\": \"", "\"}", "\"}]", "\":{\"", "{\"", "[{\"", "\"a\":", "\"a\":1",
            "a\":1,\"",
            "\":1,\"a\":", "a\":1,\"b\":2}", "\"b\":", "b\":null", "\\u00", "\\ud83d", "\\uD83D\\uDE00", "\\u0022",
            "\\\"", "\\\\",
            "\\n", "\\/", "d83d", "de00", "中", "日本", "😀", "é", "true", "true,", "false", "fals", "null", "null}", "nul",
            "10", "100", "1,", "12", "0.", "0,", "-1", "-", "1e", "e+1", "1e5", ".5", "00", "99", "255", "],[", "[]",
            "[[",
            "]]", "{}", "{},", "\"\"", "\"\",\"\"", "\"a\",\"b\"", "abc", "abc\"", "ab", "abcd", "bc\",", " \"", "  ",
            "\n", "\n\n",
            "\n  ", "\n    ", "\n  \"", "\r\n", "\t", ", ", ": ", ",\n", "}\n", "} ", "}}", "}}}", "]}", "\"]",
            "\"],\"", ":", ":[",
            ":[1", "1]", "a", "name", "\"name\"", "\"name\":", "kind", "\":\"x\",\"", "x", "2024-0", "-02-29", "T1",
            "2:00:00",
            "Z\"", "word word", "the", " the", " of", "{\"a\":{\"a\":{\"a\":", "[1,2,3]", "\"\\\"", "\\\"\"", "~",
            "\u{7f}",
        ]
        let halves: [[UInt8]] = [
            [0xE4, 0xB8], [0xF0, 0x9F], [0xF0, 0x9F, 0x98], [0x98, 0x80], [0xB8, 0xAD, 0x22], [0xC3],
            [0xA9, 0x22, 0x2C],
            [0xED, 0xA0, 0x80], [0xC0, 0x80], [0x22, 0x80], [0xFF, 0xFE],
        ]
        return texts.map { Array($0.utf8) } + halves
    }()

    /// A vocabulary of all bytes, these tokens, and control tokens behind them.
    static func tokenizer(_ tokens: [[UInt8]]) throws -> Tokenizer {
        var seen = Set<[UInt8]>()
        let all = ((UInt8(0)...255).map { [$0] } + tokens).filter { seen.insert($0).inserted }
        var codePoints: [UInt32] = []
        var next: UInt32 = 0x100
        for byte in UInt32(0)...255 {
            if (33...126).contains(byte) || (161...172).contains(byte) || byte >= 174 {
                codePoints.append(byte)
            } else {
                codePoints.append(next)
                next += 1
            }
        }
        let vocabulary = all.enumerated().map { id, token in
            let text = String(String.UnicodeScalarView(token.map { Unicode.Scalar(codePoints[Int($0)])! }))
            return JSON.Member(text, .number("\(id)"))
        }
        let added = control.enumerated().map { k, text in
            JSON.object([
                .init("id", .number("\(all.count + k)")), .init("content", .string(text)),
                .init("special", .bool(true)),
            ])
        }
        let json = JSON.object([
            .init("added_tokens", .array(added)),
            .init(
                "pre_tokenizer",
                .object([.init("type", .string("ByteLevel")), .init("add_prefix_space", .bool(false))])),
            .init(
                "model",
                .object([
                    .init("type", .string("BPE")), .init("vocab", .object(vocabulary)), .init("merges", .array([])),
                ])),
        ])
        return try Tokenizer(json: Data(json.compact.utf8))
    }

    /// As many tokens as a large model has: words of letters with and without a space before them, in capitals or with
    /// what stands around words in code and JSON, numbers, runs of spaces, and characters of other scripts.
    static func large(_ count: Int) throws -> Tokenizer {
        var (draw, tokens, seen) = (Draw(5, "vocabulary"), [[UInt8]](), Set<[UInt8]>())
        func add(_ text: String) {
            if seen.insert(Array(text.utf8)).inserted { tokens.append(Array(text.utf8)) }
        }
        for spaces in 1...80 { add(String(repeating: " ", count: spaces)) }
        for number in 0...999 { add("\(number)") }
        for lines in 1...12 {
            for spaces in 0...20 { add(String(repeating: "\n", count: lines) + String(repeating: " ", count: spaces)) }
        }
        let marks = Array("\"{}[],:'().;=<>/\\-_#*&|!?+$%@~`^").map(String.init)
        for a in marks { for b in marks { for c in ["", "\n", " "] + marks.prefix(8) { add(a + b + c) } } }
        for scalar in UInt32(0x4E00)..<0x7E00 { add(String(Unicode.Scalar(scalar)!)) }
        let syllables = [
            "a", "be", "con", "de", "er", "fi", "gen", "ha", "ing", "ka", "la", "men", "no", "or", "per", "re", "st",
            "tion", "un", "ver", "é",
        ]
        while tokens.count < count - 400 {
            let word = (0..<draw.integer(1...4)).map { _ in draw.pick(syllables) }.joined()
            switch draw.integer(0...9) {
            case 0...4: add(" " + word)
            case 5, 6: add(word)
            case 7: add(word.prefix(1).uppercased() + word.dropFirst())
            case 8: add(draw.pick([".", "_", "(", "\"", "/", "-"]) + word)
            default: add(word + draw.pick(["(", "\"", "_", ".", "\":", "\","]))
            }
        }
        return try tokenizer(tokens)
    }
}
