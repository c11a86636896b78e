import ArgumentParser
import Foundation
import GlimText
import GlimTrain

struct Parse: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Take a model's output apart: reasoning, content and tool calls.",
        discussion: """
            The output is what follows the prompt: thinking up to </think>, if there is a </think>, then content and \
            calls. It means the same in pieces of any size. Text that only begins like a call is content, and listed as \
            malformed.
            """)

    @Option(help: "File with the output of a model, as text.") var input: String
    @Option(help: "Read this many characters at a time (default: all at once).") var chunk: Int?
    @Option(help: "File with the list of tools, whose schemas say which arguments are strings.") var tools: String?
    @Flag(help: "Print one JSON object with reasoning, content and tool_calls.") var json = false

    func validate() throws {
        if let chunk, chunk < 1 { throw ValidationError("--chunk is \(chunk); it must be 1 or more.") }
    }

    func run() throws {
        let output = String(decoding: try inputBytes(input), as: UTF8.self)
        var parser = OutputTextParser(tools: try readTools(), startsThinking: OutputTextParser.startsThinking(output))
        var parsed = ParsedOutput()
        var rest = output.unicodeScalars[...]
        while !rest.isEmpty {
            let piece = chunk.map { rest.prefix($0) } ?? rest
            for event in parser.push(String(piece)) { parsed.add(event) }
            rest = rest[piece.endIndex...]
        }
        for event in parser.finish() { parsed.add(event) }
        try emit(json ? object(parsed).compact + "\n" : text(parsed))
    }

    private func readTools() throws -> [ToolDefinition] {
        guard let tools else { return [] }
        let bytes = try inputBytes(tools)
        do throws(ProtocolError) { return try ToolDefinition.list(parsing: bytes) } catch {
            throw Failure("\(tools): \(error)")
        }
    }

    private func object(_ output: ParsedOutput) -> JSON {
        let calls = output.toolCalls.map { call in
            JSON.object([.init("name", .string(call.name)), .init("arguments", call.json)])
        }
        return .object([
            .init("reasoning", output.reasoning.map(JSON.string) ?? .null),
            .init("content", .string(output.written)), .init("tool_calls", .array(calls)),
            .init("malformed_calls", .array(output.malformedCalls.map(JSON.string))),
            .init("stop", output.stop.map { .string($0.rawValue) } ?? .null),
        ])
    }

    private func text(_ output: ParsedOutput) -> String {
        let calls = output.toolCalls.map { "\($0.name)(\($0.json.pythonText))" }
        return [output.reasoning.map { "Thinking: \($0)" }, output.written].compactMap(\.self)
            .filter { !$0.isEmpty }.joined(separator: "\n")
            + "\n" + calls.map { "Call: \($0)\n" }.joined()
    }
}
