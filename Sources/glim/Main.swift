import ArgumentParser
import Foundation

struct Glim: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "glim",
        abstract: "All of GLM-5 in one program: train it, run it, measure it.",
        version: "0.1.0",
        subcommands: [
            Quickstart.self, Train.self, Generate.self, Chat.self, Score.self, Grad.self, Tokenize.self,
            Inspect.self, Bench.self, Doctor.self,
        ])
}

@main struct Main {
    static func main() async {
        do {
            var command = try Glim.parseAsRoot()
            if var command = command as? any AsyncParsableCommand { try await command.run() } else { try command.run() }
        } catch {
            switch Glim.exitCode(for: error) {
            case .success: print(Glim.fullMessage(for: error))  // --help, --version
            case .validationFailure: fail(Glim.fullMessage(for: error), code: 2)
            case let code where error is ExitCode: exit(code.rawValue)
            default: fail("error: \(oneLine(error))", code: 1)
            }
        }
    }

    /// What, where and what to do, on one line.
    private static func oneLine(_ error: any Error) -> String {
        "\(error)".split(whereSeparator: \.isNewline).joined(separator: " ")
    }

    private static func fail(_ message: String, code: Int32) -> Never {
        FileHandle.standardError.write(Data((message + "\n").utf8))
        exit(code)
    }
}

/// A problem that a command finds itself.
struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
