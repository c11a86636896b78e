import Foundation
import GlimTestSupport
import GlimText
import Testing

@Suite("tokenizer file") struct TokenizerFileTests {
    /// The smallest usable file, with parts replaced.
    func json(
        vocabulary: String? = nil, merges: String = #"["a","b"]"#, added: String = "", model: String = "",
        normalizer: String = "null",
        preTokenizer: String = #"{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}"#
    ) -> String {
        """
        {"version":"1.0","added_tokens":[\(added)],"normalizer":\(normalizer),"pre_tokenizer":\(preTokenizer),
        "model":{"type":"BPE",\(model)"merges":[\(merges)],"vocab":{\(vocabulary ?? Self.bytes + #","ab":256"#)}}}
        """
    }

    /// The 256 bytes with the ids 0 to 255, without braces.
    static let bytes: String = {
        let printable = (0..<256).filter { (33...126).contains($0) || (161...172).contains($0) || $0 >= 174 }
        let characters = (printable + Array(256..<324)).map { Character(Unicode.Scalar(UInt16($0))!) }
        return characters.enumerated().map { id, character in
            let text = character == "\"" || character == "\\" ? "\\\(character)" : "\(character)"
            return "\"\(text)\":\(id)"
        }.joined(separator: ",")
    }()

    func load(_ json: String) throws -> Tokenizer { try Tokenizer(json: Data(json.utf8), path: "here/tokenizer.json") }

    @Test("the smallest file works, with merges as pairs or as text") func loads() throws {
        for merges in [#"["a","b"]"#, #""a b""#] {
            let tokenizer = try load(json(merges: merges))
            #expect(tokenizer.encode("abba") == [256, 65, 64])
        }
        let added = #"{"id":257,"content":"ſ x","special":true}"#
        let tokenizer = try load(json(added: added))
        #expect(tokenizer.encode("abſ xab", special: true) == [256, 257, 256])
        #expect(try tokenizer.decodeText([257]) == "ſ x")
    }

    @Test(
        "what is wrong with a file is said in one line",
        arguments: [
            ("", "ends"), ("{", "ends"), ("[1]", "expected {"), ("{} x", "follows the end"), ("{}", "no vocabulary"),
            (#"{"a":"\ud800"}"#, "surrogate"), (#"{"a":"\x"}"#, "escape"), (#"{"a":01}"#, "expected }"),
            (#"{"a":tru}"#, "expected true"), ("{\"a\":\"\u{1}\"}", "control character"),
            (#"{"a":"# + String(repeating: "[", count: 100_000), "deep"),
            (#"{"model":{"type":"Unigram","vocab":[["a",0.5]]}}"#, #""Unigram""#),
            (#"{"model":{"type":"BPE","vocab":{},"merges":[]}}"#, "no vocabulary"),
            (#"{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}"#, "no token for the byte 0"),
            (#"{"model":{"type":"BPE","vocab":{"a":0,"a":1},"merges":[]}}"#, "twice"),
            (#"{"model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}}"#, "two tokens have the id 0"),
            (#"{"model":{"type":"BPE","vocab":{"a":0,"b":2},"merges":[]}}"#, "skips ids"),
            (#"{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}"#, "skips ids"),
            (#"{"model":{"type":"BPE","vocab":{"a":4000000000000},"merges":[]}}"#, "skips ids"),
            (#"{"model":{"type":"BPE","vocab":{"a":99999999999999999999},"merges":[]}}"#, "whole number"),
            (#"{"model":{"type":"BPE","vocab":{"a":1.5},"merges":[]}}"#, "whole number"),
            (#"{"model":{"type":"BPE","vocab":{"":0},"merges":[]}}"#, "empty token"),
            (#"{"model":{"type":"BPE","vocab":{"a":"0"},"merges":[]}}"#, "expected a value"),
        ])
    func rejectsFile(text: String, why: String) throws {
        let error = try #require(throws: TokenizerError.self) { try load(text) }
        #expect(error.description.contains(why) && error.description.contains("here/tokenizer.json"), "\(error)")
        #expect(!error.description.contains("\n"))
    }

    @Test(
        "what is wrong with merges and added tokens is said too",
        arguments: [
            (#"["a","b"],["a","b"]"#, "", "merge 1 repeats"), (#"["a","c"]"#, "", #"needs "ac""#),
            (#"["a","xyz"]"#, "", #"needs "xyz""#), (#"["a"]"#, "", "1 tokens"), (#""a b c""#, "", "3 tokens"),
            (#"["","a"]"#, "", "empty token"), (#"["a ","b"]"#, "", "byte alphabet"), ("7", "", "expected \""),
            ("", #"{"id":300,"content":"x!"}"#, "id 300"), ("", #"{"id":5,"content":"x!"}"#, "belongs to another"),
            ("", #"{"id":257,"content":"ab"}"#, "also in the vocabulary"), ("", #"{"id":257}"#, "without content"),
            ("", #"{"id":-5,"content":"x"}"#, "id -5"), ("", #"{"id":257,"content":""}"#, "empty added"),
            ("", #"{"id":257,"content":"x!"},{"id":258,"content":"x!"}"#, "added twice"),
            ("", #"{"id":257,"content":"x!"},{"id":257,"content":"y!"}"#, "two added tokens"),
        ])
    func rejectsParts(merges: String, added: String, why: String) throws {
        let error = try #require(throws: TokenizerError.self) { try load(json(merges: merges, added: added)) }
        #expect(error.description.contains(why), "\(error)")
    }

    @Test("what Glim does not have is named") func rejectsKinds() throws {
        let split = #"{"type":"Split","pattern":{"Regex":"\\d+"},"behavior":"Isolated","invert":false}"#
        let byteLevel = #"{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}"#
        let cases = [
            (json(model: #""byte_fallback":true,"#), "byte_fallback"),
            (json(model: #""dropout":0.1,"#), "dropout of 0.1"),
            (json(model: #""end_of_word_suffix":"</w>","#), "</w>"),
            (json(normalizer: #"{"type":"Lowercase"}"#), "Lowercase"),
            (json(preTokenizer: "null"), "no pre_tokenizer"),
            (json(preTokenizer: #"{"type":"Whitespace"}"#), "Whitespace"),
            (json(preTokenizer: #"{"type":"Sequence","pretokenizers":[\#(split),\#(byteLevel)]}"#), #"\d+"#),
        ]
        for (text, what) in cases {
            let error = try #require(throws: TokenizerError.self) { try load(text) }
            #expect(error.description.contains(what), "\(error)")
        }
    }

    @Test("a missing file, a folder and what is not UTF-8 are errors") func rejectsWorld() {
        #expect(throws: TokenizerError.self) { try Tokenizer(file: Golden.file("absent.json")) }
        #expect(throws: TokenizerError.self) { try Tokenizer(file: Golden.folder) }
        #expect(throws: TokenizerError.self) { try Tokenizer(json: Data([0x7B, 0xFF, 0x7D])) }
        #expect(throws: TokenizerError.self) {
            try Golden.tokenizer("glm").save(to: Golden.file("no/such/folder.json"))
        }
    }

    @Test("fuzz: a damaged file is refused in a line, or is a tokenizer that gives back what it is given")
    func fuzz() throws {
        let small = json(added: #"{"id":257,"content":"<a>","special":true},{"id":258,"content":"x y","lstrip":true}"#)
        let files = try ["gpt2-prefix.json", "glm.json"].map { [UInt8](try Golden.data($0)) } + [Array(small.utf8)]
        // The small one more often: it reaches the checks as well, in a tenth of the time.
        let fuzz = Fuzz("tokenizer", [2, 2, 2, 2, 0, 2, 2, 1].map { MutableFile(files[$0], .json) }, count: 2000)
        let text = Array("Some text, 123 <think> \u{e9} x y<a>\0".utf8) + [0xFF, 0x80]
        let outcome = fuzz.run(says: "here/tokenizer.json") { bytes in
            let tokenizer = try Tokenizer(json: Data(bytes), path: "here/tokenizer.json")
            let ids = tokenizer.encode(text)
            #expect(ids.allSatisfy { (0..<Int32(tokenizer.vocabularySize)).contains($0) })
            _ = tokenizer.encode(text, special: true)
            _ = try tokenizer.decode(ids)
            // What is saved says the same.
            let again = try Tokenizer(json: tokenizer.json(), path: "here/tokenizer.json")
            #expect(again.encode(text) == ids)
        }
        #expect(outcome.accepted > 20 && outcome.refused > 200)
    }
}
