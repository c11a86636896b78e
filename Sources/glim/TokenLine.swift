import Foundation
import GlimTrain

/// Sequences of tokens to score: one JSON object a line, `{"id": "a", "tokens": [1, 2, 3]}`.
struct TokenLine: Decodable {
    let id: String
    let tokens: [Int32]

    /// Reads a file of them; every line is checked against the vocabulary and the longest context.
    static func read(_ path: String, vocabulary: Int, longest: Int) throws -> [TokenLine] {
        let data: [UInt8]
        do throws(FileBytes.Problem) { data = try FileBytes.read(path, atMost: MemoryRoom.byteCount / 8) } catch {
            throw Failure("\(path) cannot be read: \(error); give a file of JSON lines")
        }
        var lines: [TokenLine] = []
        var seen: Set<String> = []
        for (i, line) in data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            if line.allSatisfy({ $0 == 32 || $0 == 13 || $0 == 9 }) { continue }
            let place = "\(path):\(i + 1)"
            guard let parsed = try? JSONDecoder().decode(TokenLine.self, from: Data(line)) else {
                throw Failure("\(place): expected {\"id\": \"a\", \"tokens\": [1, 2, 3]} with whole 32-bit numbers")
            }
            guard !parsed.tokens.isEmpty else { throw Failure("\(place): \"tokens\" is empty") }
            guard parsed.tokens.count <= longest else {
                throw Failure("\(place): \(parsed.tokens.count) tokens, but the model's context is \(longest)")
            }
            if let bad = parsed.tokens.first(where: { $0 < 0 || Int($0) >= vocabulary }) {
                throw Failure("\(place): token \(bad) is not within 0..<\(vocabulary)")
            }
            guard seen.insert(parsed.id).inserted else { throw Failure("\(place): id \"\(parsed.id)\" appears twice") }
            lines.append(parsed)
        }
        guard !lines.isEmpty else {
            throw Failure("\(path) has no lines; expected {\"id\": \"a\", \"tokens\": [1, 2]}")
        }
        return lines
    }
}
