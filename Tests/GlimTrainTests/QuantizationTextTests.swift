import Foundation
import GlimModel
import GlimText
import GlimTrain
import Testing

@Suite("text to quantise by") struct QuantizationTextTests {
    @Test("of conversations, each by itself, what the assistant says counts; text counts whole") func lines() throws {
        let place = try RunPlace()
        var run = try StageRun(place.recipe("base", steps: 1), resumes: false) { _ in }
        _ = try run.train()
        let base = place.folder.appending(path: "base")
        let (tokenizer, template) = (try Tokenizer(folder: base), try ChatTemplate(folder: base))
        let lines = (0..<60).map { i in
            i % 6 == 0
                ? "{\"text\": \"def f\(i)(x): return \(i)\"}"
                : "{\"messages\": [{\"role\": \"user\", \"content\": \"f\(i)?\"}, "
                    + "{\"role\": \"assistant\", \"content\": \"return \(String(repeating: "x", count: i % 5))\"}]}"
        }
        let file = place.folder.appending(path: "talk.jsonl")
        try lines.joined(separator: "\n").write(to: file, atomically: true, encoding: .utf8)
        let config = try ModelConfig(folder: base)
        let text = try QuantizationText([file.path], tokenizer, template, config)
        // Every line is one sequence of one of the two, with the targets of fine-tuning.
        let encoder = try ConversationEncoder(tokenizer, template)
        var left: [[Int32]: [Int32]] = [:]
        for line in lines {
            let taught = encoder.encode(try TaughtLine(parsing: line.utf8))
            left[taught.tokens] = zip(taught.tokens, taught.taught).dropFirst().map { $1 ? $0 : -1 } + [-1]
        }
        #expect(left.count == 60)
        for probes in [text.calibration, text.heldOut] {
            #expect(probes.count > 1 && probes.flatMap(\.lengths).count > 10)
            for probe in probes {
                #expect(
                    probe.tokens.count <= config.maximumPositions
                        && probe.lengths.reduce(0, +) == probe.tokens.count)
                var first = 0
                for length in probe.lengths {
                    let tokens = Array(probe.tokens[first..<first + length])
                    let next = left.removeValue(forKey: tokens)
                    #expect(Array(probe.next[first..<first + length]) == next)
                    first += length
                }
            }
        }
        #expect(left.isEmpty)

        // Nothing to learn from, and too little of it.
        try lines[1].write(to: file, atomically: true, encoding: .utf8)
        let error = #expect(throws: DataError.self) { try QuantizationText([file.path], tokenizer, template, config) }
        #expect(error?.description.contains("too little text in \(file.path)") == true)

        try "{\"messages\": [], \"text\": 3}\n".write(to: file, atomically: true, encoding: .utf8)
        #expect(throws: DataError.self) { try QuantizationText([file.path], tokenizer, template, config) }
    }

    @Test("text fills rows that see one document each, and what measures does not calibrate") func text() throws {
        let place = try RunPlace()
        var run = try StageRun(place.recipe("base", steps: 1), resumes: false) { _ in }
        _ = try run.train()
        let base = place.folder.appending(path: "base")
        let tokenizer = try Tokenizer(folder: base)
        let folder = place.folder.appending(path: "many")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let documents = (0..<40).map { i in
            "\(i) = document\n" + String(repeating: "def f(x): return \(i)\n", count: i + 2)
        }
        for (i, document) in documents.enumerated() {
            try document.write(to: folder.appending(path: "\(i).py"), atomically: true, encoding: .utf8)
        }
        let config = try ModelConfig(folder: base)
        let text = try QuantizationText([folder.path], tokenizer, ChatTemplate(folder: base), config)
        let end = try #require(tokenizer.id(of: .endOfText))
        let known = documents.map { tokenizer.encode(Array($0.utf8)) + [end] }
        /// The documents that sequences begin or go on.
        func seen(_ probes: [ProbeBatch]) -> Set<Int> {
            var seen: Set<Int> = []
            for probe in probes {
                var first = 0
                for length in probe.lengths {
                    let (tokens, next) = (probe.tokens[first..<first + length], probe.next[first..<first + length])
                    #expect(Array(next.dropLast()) == Array(tokens.dropFirst()))
                    if length >= 12 {
                        seen.formUnion(known.indices.filter { known[$0].starts(with: tokens.prefix(12)) })
                    }
                    first += length
                }
            }
            return seen
        }
        for probe in text.calibration.dropLast() + text.heldOut.dropLast() {
            #expect(probe.tokens.count == config.maximumPositions)
        }
        let (calibrating, measuring) = (seen(text.calibration), seen(text.heldOut))
        #expect(calibrating.count > 10 && measuring.count > 5)
        // One may be cut in two, of which the first part calibrates.
        #expect(calibrating.intersection(measuring).isEmpty)
        #expect(try QuantizationText([folder.path], tokenizer, ChatTemplate(folder: base), config) == text)
    }
}
