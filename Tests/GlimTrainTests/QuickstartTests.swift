import Foundation
import GlimModel
import GlimTrain
import Testing

@Suite("quickstart", .serialized) struct QuickstartTests {
    @Test("five stages, each from the model before, a report of what they gained, and nothing to do again")
    func stages() throws {
        let place = try RunPlace()
        let out = place.folder.appending(path: "quick")
        // Paths that only mean something in this folder.
        let up = String(
            repeating: "../", count: FileManager.default.currentDirectoryPath.split(separator: "/").count)
        let data = place.recipe("x", steps: 1).data.map { up + $0.dropFirst() }
        func job(isToldAll: Bool = true) -> Quickstart {
            var job =
                isToldAll
                ? Quickstart(folder: out, minutes: 0.004, data: data, seed: 3, program: "glim") { _ in }
                : Quickstart(folder: out, program: "glim") { _ in }
            job.shape.config = place.folder.appending(path: "config.json").path
            (job.shape.vocabularySize, job.shape.shortLength, job.shape.longLengths) = (384, 32, [64, 128])
            (job.shape.factLength, job.shape.factBatch) = (32, 64)
            (job.shape.shortBatch, job.shape.chatLength, job.shape.conversations) = (256, 256, 200)
            (job.shape.questions, job.shape.answerLength) = (1, 8)
            return job
        }
        // A model of somebody else's where the last stage belongs: said before anything is done.
        let model = out.appending(path: "model")
        try FileManager.default.createDirectory(at: model, withIntermediateDirectories: true)
        try Data("{}".utf8).write(to: model.appending(path: "config.json"))
        let refusal = #expect(throws: RunError.self) { _ = try job().run() }
        #expect(refusal.map { "\($0)".contains("did not make") } ?? false)
        #expect(!FileManager.default.fileExists(atPath: out.appending(path: "facts").path))
        try FileManager.default.removeItem(at: model)
        let report = try #require(try job().run())
        #expect(report.stages.map(\.name) == ["facts", "pretrain", "midtrain", "adapt", "sft"])
        for stage in report.stages {
            let gain = try #require(stage.gain)
            #expect(gain.shortLength == 32 && gain.longLength == 128 && stage.steps >= 1)
            #expect(gain.shortBitsPerByte.map { $0 > 0 && $0 < 9 } ?? false)
            #expect(gain.longBitsPerByte.map { $0 > 0 && $0 < 9 } ?? false)
            #expect(gain.decodeTokensPerSecond.map { $0 > 0 } ?? false)
            #expect((gain.indexerLoss != nil) == (stage.name == "adapt"))
            #expect((gain.questionsAnswered?.samples == 5) == ["adapt", "sft"].contains(stage.name))
        }
        #expect(try ModelConfig(folder: out.appending(path: "model")).indexer?.topK == 8)
        #expect(try ModelConfig(folder: out.appending(path: "midtrain")).indexer == nil)
        let html = try String(contentsOf: out.appending(path: "report.html"), encoding: .utf8)
        #expect(
            html.contains("What each stage gained") && html.contains("facts found in 32")
                && html.contains("questions answered"))
        // Among the conversations stand pieces of the text, and facts.
        let lines = try String(contentsOf: out.appending(path: "conversations.jsonl"), encoding: .utf8)
            .split(separator: "\n").map { try TaughtLine(parsing: $0.utf8) }
        let pieces = lines.compactMap { if case .text(let piece) = $0 { piece } else { nil } }
        #expect(lines.count == 210 && pieces.count == 10)
        let texts = try place.recipe("x", steps: 1).data.map { try String(contentsOfFile: $0, encoding: .utf8) }
        #expect(pieces.count { piece in texts.contains { $0.contains(piece) } } == 5)
        #expect(pieces.count { piece in RetrievalForm.allCases.contains { piece.contains($0.fact + " ") } } == 5)
        #expect(try job().run() == report)
        // Killed before the last stage had begun: only that is done again, as the job was begun, whatever is told now.
        let text = try Data(contentsOf: out.appending(path: "text"))
        let recorded = try Data(contentsOf: out.appending(path: "model/recipe.json"))
        try FileManager.default.removeItem(at: out.appending(path: "model"))
        let again = try #require(try job(isToldAll: false).run())
        #expect(Array(again.stages[..<4]) == Array(report.stages[..<4]) && again.stages[4].steps >= 1)
        #expect(again.summary == report.summary && again.summary.contains("from the text given"))
        #expect(try Data(contentsOf: out.appending(path: "text")) == text)
        let (before, after) = (
            try JSONDecoder().decode(TrainRecipe.self, from: recorded),
            try JSONDecoder().decode(
                TrainRecipe.self, from: try Data(contentsOf: out.appending(path: "model/recipe.json")))
        )
        #expect(after.seed == 3 && after.minutes == before.minutes && after.data == before.data)
    }
}
