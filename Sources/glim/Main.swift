import ArgumentParser
import Foundation
import GlimCheckpoint
import GlimTensor

struct Glim: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "glim",
        abstract: "All of GLM-5 in one program: train it, run it, measure it.",
        version: "0.1.0",
        subcommands: [
            Quickstart.self, Train.self, SFTData.self, Generate.self, Chat.self, Score.self, Grad.self, Tokenize.self,
            Template.self, Parse.self, Inspect.self, Quantize.self, Convert.self, PullModel.self, Serve.self,
            Bench.self, Conformance.self, Eval.self, Plan.self, Kernels.self, Doctor.self,
        ])
}

@main struct Main {
    static func main() async {
        Streams.prepare()
        do {
            var command = try Glim.parseAsRoot(known(Array(CommandLine.arguments.dropFirst())))
            // That command has a process for each table, which can die of it.
            if !(command is Kernels) { try checkKernels() }
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

    /// What computes, or not, does so with the kernels that were asked for.
    private static func checkKernels() throws {
        do { try KernelSet.checkChoice() } catch { throw Failure("GLIM_KERNELS: \(error)") }
    }

    /// The arguments, once it is certain that the command exists: the parser would name an option after it instead, and
    /// `glim help` would show the general help, as if all were well.
    private static func known(_ arguments: [String]) throws -> [String] {
        guard let first = arguments.first, !first.hasPrefix("-") else { return arguments }
        let isHelp = first == "help"
        var (checked, known) = (isHelp ? [first] : [], Glim.configuration.subcommands)
        for name in isHelp ? arguments[1...] : arguments[...0] where !name.hasPrefix("-") {
            guard let command = known.first(where: { $0._commandName == name }) else {
                let names = known.map { $0._commandName }.joined(separator: ", ")
                throw ValidationError("There is no command '\(name)'; there are \(names).")
            }
            checked.append(name)
            known = command.configuration.subcommands
            // What comes after, as in `glim help bench decode`, has no help of its own.
            if known.isEmpty { break }
        }
        return isHelp ? checked : arguments
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
