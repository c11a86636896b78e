import Foundation
import Testing

@Suite("glim generate and chat") struct GenerateCommandTests {
    @Test("ids are continued without a tokenizer, the same with any number of threads")
    func tokens() async throws {
        var first: [Int]?
        for threads in ["1", "2"] {
            let reply = try await Program.succeed(
                "generate", "--model", Golden.model("sparse"), "--tokens", "1, 2,3", "--max-tokens", "24", "--json",
                "--threads", threads, "--seed", "5"
            ).json
            let tokens = try #require(reply["tokens"] as? [Int])
            #expect(reply["prompt_tokens"] as? Int == 3)
            #expect((reply["logprobs"] as? [Double])?.count == tokens.count)
            #expect(reply["text"] == nil && reply["stop_reason"] is String)
            #expect(reply["prefill_tokens_per_second"] is Double && reply["decode_tokens_per_second"] is Double)
            #expect(tokens == first ?? tokens)
            first = tokens
        }
    }

    @Test("log-probabilities of what was drawn are those of score, to the bit") func logprobs() async throws {
        let folder = try TemporaryFolder()
        let reply = try await Program.succeed(
            "generate", "--model", Golden.model("sparse"), "--tokens", "4,5,6,7", "--max-tokens", "40",
            "--temperature", "0.7", "--top-p", "0.9", "--json"
        ).json
        let tokens = try #require(reply["tokens"] as? [Int])
        let line = "{\"id\": \"x\", \"tokens\": \([4, 5, 6, 7] + tokens)}"
        _ = try await Program.succeed(
            "score", "--model", Golden.model("sparse"), "--input", folder.write(line, to: "in"), "--output",
            folder.path("out").path, "--what", "logprobs")
        let scored = try #require(try Safetensors(folder.path("out"))["x"]).floats.dropFirst(3)
        #expect(Array(scored) == (reply["logprobs"] as? [Double])?.map { Float($0) })
    }

    @Test("drafts change no token, and say how many were right", arguments: ["mtp", "mtp_layers"])
    func drafts(name: String) async throws {
        func reply(_ more: String...) async throws -> [String: Any] {
            try await Program.run(
                ["generate", "--model", Golden.model(name), "--tokens", "1,2,3", "--max-tokens", "40", "--json"]
                    + ["--temperature", "4", "--seed", "7"] + more
            ).json
        }
        let (plain, drafted) = (try await reply(), try await reply("--drafts", "4"))
        #expect(plain["tokens"] as? [Int] == drafted["tokens"] as? [Int])
        #expect(plain["logprobs"] as? [Double] == drafted["logprobs"] as? [Double])
        #expect(plain["draft_acceptance"] == nil && plain["tokens_per_step"] == nil)
        #expect((drafted["draft_acceptance"] as? [Any])?.count == 4)
        let (tried, accepted) = (drafted["drafts_tried"] as? [Int], drafted["drafts_accepted"] as? [Int])
        #expect(tried?.count == 4 && accepted?.count == 4 && (tried?[0] ?? 0) >= (accepted?[0] ?? 1))
        #expect((drafted["tokens_per_step"] as? Double ?? 0) >= 1)
    }

    @Test("drafts of a model that cannot are one error", arguments: ["generate", "chat"])
    func noDrafts(command: String) async throws {
        let folder = try Golden.speaker()
        let more = command == "generate" ? ["--prompt", "x"] : []
        let result = try await Program.run([command, "--model", folder.url.path, "--drafts", "2"] + more)
        #expect(result.status == 1 && result.stderr.hasPrefix("error: ") && result.stderr.contains("no MTP layer"))
    }

    @Test("text is continued, and equals the text in JSON") func text() async throws {
        let folder = try Golden.speaker()
        let arguments = ["generate", "--model", folder.url.path, "--prompt", "Grüße <|user|>", "--max-tokens", "60"]
        let plain = try await Program.run(arguments)
        let json = try await Program.run(arguments + ["--json"]).json
        #expect(plain.status == 0)
        #expect(plain.text == (json["text"] as? String ?? "") + "\n")
        // One token a byte: the control token in the prompt is plain text, unless that is asked for.
        #expect(json["prompt_tokens"] as? Int == "Grüße <|user|>".utf8.count)
        let special = try await Program.run(arguments + ["--json", "--special"]).json
        #expect(special["prompt_tokens"] as? Int == "Grüße ".utf8.count + 1)
        let dash = try await Program.succeed(
            "generate", "--model", folder.url.path, "--prompt", "--json", "--max-tokens", "1", "--json"
        ).json
        #expect(dash["prompt_tokens"] as? Int == 6)
        let empty = try await Program.succeed(
            "generate", "--model", folder.url.path, "--prompt", "", "--max-tokens", "0", "--json"
        ).json
        #expect(empty["prompt_tokens"] as? Int == 1 && (empty["tokens"] as? [Int])?.isEmpty == true)
    }

    @Test("a chat from a pipe answers every line and obeys its commands") func chat() async throws {
        let folder = try Golden.speaker()
        let saved = folder.path("saved.txt")
        let input = """
            Hello
            /seed 3
            /temperature 0.5
            /temperature cold
            And again: <|assistant|>
            /save \(saved.path)
            /reset
            /nonsense

            Hello
            /exit
            never read
            """
        let chat = try await Program.succeed("chat", "--model", folder.url.path, "--max-tokens", "12", input: input)
        #expect(!chat.text.contains("\u{1B}") && chat.text.hasSuffix("\n"))
        let log = chat.stderr.split(separator: "\n")
        #expect(log.count == 2 && log[0].contains("/temperature") && log[1].contains("/nonsense"))
        let conversation = String(decoding: try Data(contentsOf: saved), as: UTF8.self)
        #expect(conversation.hasPrefix("[gMASK]<sop><|user|>Hello<|assistant|>"))
        #expect(conversation.contains("<|user|>And again: <|assistant|><|assistant|>"))
        // The first turn is the same however often it is asked: the same seed, an empty cache.
        let again = try await Program.succeed(
            "chat", "--model", folder.url.path, "--max-tokens", "12", "--seed", "3", "--temperature", "0.5",
            input: "Hello")
        #expect(chat.text.hasSuffix(again.text))
        #expect(try await Program.succeed("chat", "--model", folder.url.path, input: "").text.isEmpty)
    }

    @Test("a chat with drafts says what it says without") func draftedChat() async throws {
        let folder = try Golden.speaker(drafts: true)
        let input = "Hello\n/temperature 3\nGo on\nAnd on\n/temperature 0\nOnce more\n/reset\nHello\n"
        func chat(_ drafts: String) async throws -> String {
            try await Program.succeed(
                "chat", "--model", folder.url.path, "--max-tokens", "30", "--seed", "4", "--drafts", drafts,
                input: input
            ).text
        }
        let plain = try await chat("0")
        #expect(plain.count > 100)
        for drafts in ["1", "3"] { #expect(try await chat(drafts) == plain) }
    }

    @Test("a conversation that is too long is refused and goes on") func longChat() async throws {
        let folder = try Golden.speaker()
        let long = String(repeating: "x", count: 4200)
        let chat = try await Program.succeed(
            "chat", "--model", folder.url.path, "--max-tokens", "4", input: "\(long)\nshort\n")
        #expect(chat.stderr.contains("4096") && !chat.text.isEmpty)
    }
}
