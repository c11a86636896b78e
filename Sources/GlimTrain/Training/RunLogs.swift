import Foundation
import GlimCheckpoint

/// `samples.jsonl`: what the model wrote at some steps, `{"step": 100, "samples": [{"prompt": …, "continuation": …}]}`.
struct SampleLog {
    private struct Line: Codable {
        var step: Int
        var samples: [Report.Sample]
    }

    private let file: URL

    /// - Parameter afterStep: later lines are dropped, to be written again.
    init(file: URL, afterStep: Int) throws {
        self.file = file
        let kept = try Self.lines(file).filter { $0.step <= afterStep }
        try Self.write(kept, to: file)
    }

    func append(_ step: Int, _ samples: [Report.Sample]) throws {
        try Self.write(Self.lines(file) + [Line(step: step, samples: samples)], to: file)
    }

    /// The samples of the last step that has some.
    static func last(_ file: URL) throws -> [Report.Sample] { try lines(file).last?.samples ?? [] }

    /// No file is no lines; one that cannot be read is an error, or it would be written over.
    private static func lines(_ file: URL) throws(ReportError) -> [Line] {
        try MetricsLog.bytes(file.path).split(separator: UInt8(ascii: "\n")).compactMap {
            try? JSONDecoder().decode(Line.self, from: Data($0))
        }
    }

    private static func write(_ lines: [Line], to file: URL) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var data = Data()
        for line in lines { data += try encoder.encode(line) + [UInt8(ascii: "\n")] }
        try AtomicFile.write(data, to: file)
    }
}

/// The rows of each step as they were fed, one JSON line a step: for training the same in another engine.
final class BatchLog {
    private let handle: FileHandle
    private let path: String

    /// - Parameter afterStep: later lines are dropped, to be written again.
    init(file: URL, afterStep: Int) throws {
        try MetricsLog.truncate(file: file, toStep: afterStep)
        let files = FileManager.default
        guard FileBytes.entry(file.path, following: true)?.kind ?? .file == .file,
            files.fileExists(atPath: file.path) || files.createFile(atPath: file.path, contents: nil),
            let handle = try? FileHandle(forWritingTo: file), (try? handle.seekToEnd()) != nil
        else { throw RunError("\(file.path) cannot be written; give a plain file in a folder you may write to") }
        (self.handle, path) = (handle, file.path)
    }

    func append(_ step: Int, _ rows: [PackedRow]) throws {
        let text = rows.map { row in
            let segments = row.segments.map { "[\($0.start),\($0.count)]" }.joined(separator: ",")
            return "{\"tokens\":\(row.tokens),\"next\":\(row.next),\"segments\":[\(segments)]}"
        }
        do {
            try handle.write(contentsOf: Data("{\"step\":\(step),\"rows\":[\(text.joined(separator: ","))]}\n".utf8))
        } catch {
            throw ReportError.cannotWrite(path, why: ReportError.why(error))
        }
    }
}
