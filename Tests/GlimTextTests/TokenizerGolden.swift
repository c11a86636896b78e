import Foundation
import GlimText

/// What Tools/tokenizer_golden.py asked of Hugging Face's library.
enum Golden {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Golden/tokenizers")

    static let names = ["glm", "llama3", "qwen2", "gpt2", "gpt2-prefix"]

    static func file(_ name: String) -> URL { folder.appending(path: name) }

    static func data(_ name: String) throws -> Data { try Data(contentsOf: file(name)) }

    static func tokenizer(_ name: String) throws -> Tokenizer { try Tokenizer(file: file("\(name).json")) }

    static func samples() throws -> [String] { try JSONDecoder().decode([String].self, from: data("samples.json")) }

    static func ids(_ name: String) throws -> [[Int32]] {
        try JSONDecoder().decode([[Int32]].self, from: data("\(name).ids.json"))
    }
}

/// Random bytes that look like text here and like noise there: the same for the same seed.
struct ByteSource {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31
    }

    mutating func bytes() -> [UInt8] {
        let stock: [[UInt8]] = [
            Array("the word 123 it's ".utf8), Array("é中か한😀👨‍👩‍👧".utf8), [0x20, 0x20, 0x0A, 0x0D, 0x09],
            Array("<think><|user|>[gMASK]/nothink<left> ".utf8), Array(0x80...0xFF),
        ]
        return (0..<(next() % 60)).flatMap { _ -> [UInt8] in
            let piece = stock[Int(next() % 5)]
            let start = Int(next() % UInt64(piece.count))
            return Array(piece[start..<min(piece.count, start + Int(next() % 6))])
        }
    }
}
