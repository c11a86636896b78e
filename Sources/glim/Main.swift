import ArgumentParser
import Foundation
import GlimCheckpoint

struct Glim: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "glim",
        abstract: "All of GLM-5 in one program: train it, run it, measure it.",
        version: "0.1.0",
        subcommands: [
            Quickstart.self, Train.self, SFTData.self, Generate.self, Chat.self, Score.self, Grad.self, Tokenize.self,
            Template.self, Parse.self, Inspect.self, Quantize.self, Bench.self, Conformance.self, Eval.self,
            Plan.self, Doctor.self,
        ])
}

@main struct Main {
    static func main() async {
        Streams.prepare()
        do {
            try checkHelp(CommandLine.arguments.dropFirst())
            var command = try Glim.parseAsRoot()
            if var command = command as? any AsyncParsableCommand { try await command.run() } else { try command.run() }
            try Streams.flush()
        } catch {
            switch Glim.exitCode(for: error) {
            case .success: finish { try emit(Glim.fullMessage(for: error) + "\n") }  // --help, --version
            case .validationFailure: fail(Glim.fullMessage(for: error), code: 2)
            case let code where error is ExitCode: finish(code: code.rawValue) {}
            default: fail("error: \("\(error)".onOneLine)", code: 1)
            }
        }
    }

    /// `glim help` shows the general help for a command that does not exist, as if all were well.
    private static func checkHelp(_ arguments: ArraySlice<String>) throws {
        guard arguments.first == "help" else { return }
        var known: [any ParsableCommand.Type] = Glim.configuration.subcommands
        for name in arguments.dropFirst() where !name.hasPrefix("-") {
            guard let command = known.first(where: { $0._commandName == name }) else {
                let names = known.map { $0._commandName }.joined(separator: ", ")
                throw ValidationError(
                    "There is no command '\(name)'" + (known.isEmpty ? "." : "; there are \(names)."))
            }
            known = command.configuration.subcommands
        }
    }

    private static func finish(code: Int32 = 0, _ last: () throws -> Void) -> Never {
        do {
            try last()
            try Streams.flush()
        } catch { fail("error: \("\(error)".onOneLine)", code: 1) }
        exit(code)
    }

    private static func fail(_ message: String, code: Int32) -> Never {
        log(message)
        // What was printed before belongs to whoever reads it, even then.
        try? Streams.flush()
        exit(code)
    }
}

/// A problem that a command finds itself.
struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
