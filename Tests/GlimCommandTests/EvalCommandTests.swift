import Foundation
import GlimTestSupport
import Testing

@Suite("glim eval") struct EvalCommandTests {
    /// A model of a second's training.
    private static func model(_ folder: borrowing TemporaryFolder) async throws -> String {
        let output = try await Program.run(TinyRun.arguments(folder, "run"))
        try #require(output.status == 0, "\(output.stderr)")
        return folder.path("run").path
    }

    @Test("ruler gives a score per task and length, and the command that gives it again") func ruler() async throws {
        let folder = try TinyRun.place()
        let model = try await Self.model(folder)
        let arguments = [
            "eval", "ruler", "--model", model, "--lengths", "1500", "2000", "--samples", "2", "--tasks", "needle",
            "aggregation", "--data", folder.path("text.py").path, "--seed", "3", "--json",
        ]
        let output = try await Program.run(arguments)
        try #require(output.status == 0, "\(output.stderr)")
        // Two texts with a needle, and one for both samples of the other task.
        #expect(output.stderr.contains("ruler  needle at 1500  0/10500 tokens"), "\(output.stderr)")
        let json = try output.json
        let cells = try #require(json["cells"] as? [[String: Any]])
        #expect(cells.map { $0["task"] as? String } == ["needle", "aggregation", "needle", "aggregation"])
        #expect(cells.map { $0["length"] as? Int } == [1500, 1500, 2000, 2000])
        for cell in cells {
            let result = try #require(cell["result"] as? [String: Any])
            let (low, score, high) = (result["low"] as? Double, result["score"] as? Double, result["high"] as? Double)
            #expect(result["samples"] as? Int == 2 && low! <= score! && score! <= high! && high! > 0.5)
        }
        #expect(json["seed"] as? Int == 3 && json["samples"] as? Int == 2)
        let command = try #require(json["command"] as? String)
        #expect(command.hasPrefix("glim eval ruler --model ") && command.hasSuffix(" --seed 3"), "\(command)")
        let again = try await Program.run(command.split(separator: " ").dropFirst().map(String.init) + ["--json"])
        #expect(again.stdout == output.stdout, "\(again.stderr)")
    }

    @Test("a length beyond the model's is asked with a note; what makes no sense answers 2") func lengths() async throws
    {
        let folder = try TinyRun.place()
        let model = try await Self.model(folder)
        let data = ["--data", folder.path("text.py").path]
        let long = try await Program.run(
            ["eval", "ruler", "--model", model, "--lengths", "5000", "--samples", "1", "--tasks", "needle"] + data)
        #expect(long.status == 0 && long.stderr.contains("note: 5000 tokens are more than the 4096"), "\(long.stderr)")
        #expect(long.text.split(separator: "\n").count == 3)
        let short = try await Program.run(["eval", "ruler", "--model", model, "--lengths", "9"] + data)
        #expect(short.status == 2 && short.stderr.contains("length 9 is not within 512...4194304."), "\(short.stderr)")
        let task = try await Program.run(["eval", "ruler", "--model", model, "--tasks", "haystack"])
        #expect(task.status == 2)
    }
}
