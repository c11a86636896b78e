import Foundation
import GlimText
import Testing

@Suite("tokenizer") struct TokenizerTests {
    @Test("every sample has the ids of Hugging Face's library", arguments: Golden.names)
    func agrees(name: String) throws {
        let tokenizer = try Golden.tokenizer(name)
        for (text, ids) in zip(try Golden.samples(), try Golden.ids(name)) {
            #expect(tokenizer.encode(text, special: true) == ids, "of \(text.debugDescription)")
        }
    }

    @Test("what is saved is, byte for byte, what Hugging Face's library saves", arguments: Golden.names)
    func savesTheSame(name: String) throws {
        #expect(try Golden.tokenizer(name).json() == Golden.data("\(name).json"))
    }

    @Test("a saved file replaces the one before and reads back") func saves() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "glim-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        for name in ["gpt2", "glm"] {
            try Golden.tokenizer(name).save(folder: folder)
            #expect(try Tokenizer(folder: folder).json() == Golden.data("\(name).json"))
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["tokenizer.json"])
    }

    @Test("any bytes decode to themselves, with and without control tokens", arguments: ["glm", "llama3", "gpt2"])
    func roundTrips(name: String) throws {
        let tokenizer = try Golden.tokenizer(name)
        var source = ByteSource(seed: 7)
        for _ in 0..<2000 {
            let bytes = source.bytes()
            #expect(try tokenizer.decode(tokenizer.encode(bytes)) == bytes)
            // Stripping is the one thing that loses bytes, and only the white space around `<left>` and `<right>`.
            if name == "llama3" { #expect(try tokenizer.decode(tokenizer.encode(bytes, special: true)) == bytes) }
        }
        for first in UInt8.min...UInt8.max {
            for second in UInt8.min...UInt8.max {
                let bytes = [first, second, 0x41]
                let back = try tokenizer.decode(tokenizer.encode(bytes))
                if back != bytes { Issue.record("\(bytes) came back as \(back)") }
            }
        }
    }

    @Test("control tokens written in a text are plain unless asked for") func neutralises() throws {
        let tokenizer = try Golden.tokenizer("glm")
        let text = "<|user|>Hi<think>/nothink"
        let added = Set(tokenizer.addedTokens.map(\.id))
        #expect(added.isDisjoint(with: tokenizer.encode(text)))
        let ids = tokenizer.encode(text, special: true)
        #expect(ids.first == tokenizer.id(of: .user))
        #expect(ids.last == tokenizer.id(of: .noThink))
        #expect(ids.filter(added.contains).count == 3)
        #expect(try tokenizer.decodeText(ids) == text)
        #expect(try tokenizer.decodeText(ids, skipsSpecial: true) == "Hi<think>/nothink")
    }

    @Test("an added token that is also a whole word of the vocabulary stays plain") func wholeWord() throws {
        // `ignore_merges` would take the piece "/nothink" whole.
        var json = String(decoding: try Golden.data("glm.json"), as: UTF8.self)
        let tokenizer = try Golden.tokenizer("glm")
        let id = try #require(tokenizer.id(of: .noThink))
        let first = tokenizer.addedTokens[0].id
        // Swap ids so that the vocabulary may end with the token.
        for (old, new) in [("\(id)", "SWAP"), ("\(first)", "\(id)"), ("SWAP", "\(first)")] {
            json = json.replacing("\"id\": \(old),", with: "\"id\": \(new),")
        }
        let last = try #require(json.firstRange(of: ": \(first - 1)\n    },"))
        json.replaceSubrange(last, with: ": \(first - 1),\n \"/nothink\": \(first)\n    },")
        let changed = try Tokenizer(json: Data(json.utf8))
        #expect(changed.id(of: .noThink) == first)
        #expect(!changed.encode("/nothink").contains(first))
        #expect(changed.encode("/nothink", special: true) == [first])
    }

    @Test("long runs of one character take no quadratic time", arguments: ["a", " ", "\n", "-", "é", "\0", "<", "中"])
    func longRuns(character: String) throws {
        let tokenizer = try Golden.tokenizer("glm")
        let text = String(repeating: character, count: 300_000)
        var ids: [Int32] = []
        let time = ContinuousClock().measure { ids = tokenizer.encode(text) }
        #expect(time < .seconds(30))
        #expect(try tokenizer.decodeText(ids) == text)
    }

    @Test("form C is Unicode's, also where Foundation's is not") func normalizes() throws {
        let tokenizer = try Golden.tokenizer("qwen2")
        let cases = [
            ("e\u{301}", "\u{E9}"), ("\u{AC00}\u{11A8}", "\u{AC01}"), ("\u{AC00}\u{11A7}", "\u{AC00}\u{11A7}"),
            ("\u{AC00}\u{11C3}\u{301}", "\u{AC00}\u{11C3}\u{301}"), ("\u{1112}\u{1161}\u{11AB}", "\u{D55C}"),
            ("\u{F73}\u{F73}", "\u{F71}\u{F71}\u{F72}\u{F72}"), ("\u{212B}", "\u{C5}"), ("\u{958}", "\u{915}\u{93C}"),
        ]
        for (text, normal) in cases {
            // Compared as bytes: to Swift, canonically equivalent strings are equal.
            let bytes = [0xFF] + Array(text.utf8) + [0x80]
            #expect(try tokenizer.decode(tokenizer.encode(bytes)) == [0xFF] + Array(normal.utf8) + [0x80])
        }
    }

    @Test("several threads encode at once with the same result") func threads() async throws {
        let tokenizer = try Golden.tokenizer("gpt2")
        let (samples, ids) = (try Golden.samples(), try Golden.ids("gpt2"))
        await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<8 {
                group.addTask { samples.map { tokenizer.encode($0, special: true) } == ids }
            }
            for await isSame in group { #expect(isSame) }
        }
    }

    @Test("an id outside the vocabulary is an error", arguments: [-1, 1212, Int32.max, Int32.min])
    func unknownID(id: Int32) throws {
        let tokenizer = try Golden.tokenizer("glm")
        #expect(tokenizer.vocabularySize == 1212)
        #expect(throws: TokenizerError.unknownID(Int(id), vocabularySize: 1212)) { try tokenizer.decode([id]) }
        #expect(tokenizer.addedToken(id) == nil)
        var decoder = StreamDecoder(tokenizer)
        #expect(throws: TokenizerError.self) { try decoder.push(id) }
    }
}

@Suite("stream decoder") struct StreamDecoderTests {
    @Test("the pieces joined are the whole text, and none ends within a character")
    func joins() throws {
        let tokenizer = try Golden.tokenizer("glm")
        var source = ByteSource(seed: 11)
        let texts = try Golden.samples().map { Array($0.utf8) } + (0..<500).map { _ in source.bytes() }
        for bytes in texts {
            // A token a byte, and the tokens as they come.
            for ids in [tokenizer.encode(bytes), bytes.flatMap { tokenizer.encode([$0]) }] {
                var decoder = StreamDecoder(tokenizer)
                var text = ""
                for id in ids { text += try decoder.push(id) }
                text += decoder.finish()
                #expect(text == String(decoding: bytes, as: UTF8.self))
            }
        }
    }

    @Test("a character appears when its last byte does") func holdsBack() throws {
        let tokenizer = try Golden.tokenizer("glm")
        var decoder = StreamDecoder(tokenizer)
        let pieces = try Array("a😀é".utf8).map { try decoder.push(tokenizer.encode([$0])[0]) }
        #expect(pieces == ["a", "", "", "", "😀", "", "é"])
        #expect(decoder.finish().isEmpty)
    }

    @Test("what can never become a character is replaced at once, the rest at the end") func replaces() throws {
        let tokenizer = try Golden.tokenizer("glm")
        var decoder = StreamDecoder(tokenizer)
        let pieces = try [0xC0, 0xE4, 0xB8, 0x41, 0xED, 0xA0, 0xF0, 0x9F].map {
            try decoder.push(tokenizer.encode([$0])[0])
        }
        #expect(pieces == ["\u{FFFD}", "", "", "\u{FFFD}A", "", "\u{FFFD}\u{FFFD}", "", ""])
        #expect(decoder.finish() == "\u{FFFD}")
        #expect(decoder.finish().isEmpty)
    }

    @Test("special tokens can be left out") func skips() throws {
        let tokenizer = try Golden.tokenizer("glm")
        var decoder = StreamDecoder(tokenizer, skipsSpecial: true)
        let ids = tokenizer.encode("<|user|>a<think>", special: true)
        #expect(try ids.map { try decoder.push($0) } == ["", "a", "<think>"])
    }
}
