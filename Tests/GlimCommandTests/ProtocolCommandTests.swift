import Foundation
import GlimTestSupport
import Testing

@Suite("glim template, glim parse and the ways to think") struct ProtocolCommandTests {
    private static let conversation = """
        {"messages": [{"role": "user", "content": "w? <|user|>"}, {"role": "assistant", "content": "",
        "reasoning_content": "r", "tool_calls": [{"function": {"name": "f", "arguments": {"z": 1.50, "a": "x"}}}]},
        {"role": "tool", "content": "12"}], "add_generation_prompt": true}
        """

    @Test("a conversation is rendered as text and as tokens") func template() async throws {
        let folder = try Golden.speaker()
        let input = try folder.write(Self.conversation, to: "input.json")
        let text =
            "[gMASK]<sop><|user|>w? <|user|><|assistant|><think>r</think><tool_call>f<arg_key>z</arg_key>"
            + "<arg_value>1.5</arg_value><arg_key>a</arg_key><arg_value>x</arg_value></tool_call>"
            + "<|observation|><tool_response>12</tool_response><|assistant|><think>"
        let arguments = ["template", "--model", folder.url.path, "--input", input]
        #expect(try await Program.run(arguments).text == text)
        let json = try await Program.run(arguments + ["--json"]).json
        #expect(json["text"] as? String == text)
        // The speaker has these control tokens alone; what a person wrote is bytes.
        let tokens = try #require(json["tokens"] as? [Int])
        #expect(tokens.prefix(4) == [257, 258, 259, 119] && tokens.filter { $0 == 259 }.count == 1)
        #expect(tokens.suffix(2) == [260, 261])

        // The template is the folder's own, or the one that is asked for.
        let other = try await Program.run(arguments + ["--template", "glm-5.2"]).text
        #expect(other.hasPrefix("[gMASK]<sop><|system|>Reasoning Effort: Max<|user|>"))
        _ = try folder.write("[gMASK]<sop> <arg_key> Reasoning Effort: defer_loading", to: "chat_template.jinja")
        #expect(try await Program.run(arguments).text == other)
        _ = try folder.write("{{ messages }}", to: "chat_template.jinja")
        let unknown = try await Program.run(arguments)
        #expect(unknown.status == 1 && unknown.stderr.contains("chat_template.jinja"))
    }

    @Test("an output is taken apart, the same in pieces of any size") func parse() async throws {
        let folder = try TemporaryFolder()
        let output =
            "höm</think>So:<tool_call>f<arg_key>n</arg_key><arg_value>3</arg_value><arg_key>s</arg_key>"
            + "<arg_value>4</arg_value></tool_call><tool_call>g</tool_call><tool_call>h<arg_key>"
        let input = try folder.write(output, to: "output.txt")
        let tools = try folder.write(
            """
            [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"s": {"type": "string"}}}}}]
            """, to: "tools.json")
        var lines: Set<String> = []
        for chunk in ["1", "2", "7", "1000"] {
            let result = try await Program.succeed(
                "parse", "--input", input, "--tools", tools, "--chunk", chunk, "--json")
            lines.insert(result.text)
        }
        #expect(
            lines == [
                #"{"reasoning":"höm","content":"So:<tool_call>h<arg_key>","tool_calls":"#
                    + #"[{"name":"f","arguments":{"n":3,"s":"4"}},{"name":"g","arguments":{}}],"#
                    + #""malformed_calls":["<tool_call>h<arg_key>"],"stop":null}"# + "\n"
            ])
        let plain = try await Program.succeed("parse", "--input", input)
        #expect(plain.text.contains("Thinking: höm") && plain.text.contains("f({\"n\": 3, \"s\": 4})"))
    }

    @Test("what cannot be rendered or parsed is one error") func errors() async throws {
        let folder = try Golden.speaker()
        let input = try folder.write("{\"messages\": [{\"role\": \"robot\"}]}", to: "input.json")
        for (arguments, word) in [
            (["template", "--model", folder.url.path, "--input", input], "messages[0].role"),
            (["template", "--model", folder.url.path, "--input", folder.path("none").path], "none"),
            (["template", "--model", folder.path("none").path, "--input", input], "holds no model"),
            (["parse", "--input", folder.path("none").path], "none"),
            (["parse", "--input", input, "--tools", input], "a list of tools"),
        ] {
            let result = try await Program.run(arguments)
            #expect(result.status == 1 && result.stderr.hasPrefix("error: ") && result.stderr.contains(word))
        }
        #expect(try await Program.run(["parse", "--input", input, "--chunk", "0"]).status == 2)
        #expect(
            try await Program.run(["template", "--model", "x", "--input", input, "--template", "glm-4"]).status == 2)
    }

    @Test("a chat thinks in three ways", arguments: ["interleaved", "preserved", "off"])
    func thinking(mode: String) async throws {
        let folder = try Golden.speaker()
        let saved = folder.path("saved.txt")
        let chat = try await Program.succeed(
            "chat", "--model", folder.url.path, "--max-tokens", "5", "--thinking", mode, "--temperature", "0",
            input: "One\nTwo\n/save \(saved.path)\n/thinking deeply\n")
        #expect(chat.stderr.contains("/thinking wants interleaved, preserved or off; it is \(mode)"))
        let text = String(decoding: try Data(contentsOf: saved), as: UTF8.self)
        #expect(text.hasPrefix("[gMASK]<sop><|user|>One<|assistant|>\(mode == "off" ? "</think>" : "<think>")"))
        #expect(text.contains("<|user|>Two<|assistant|>"))
        #expect(chat.text.hasPrefix("<think>") == (mode != "off"))
    }
}
