import Foundation
import GlimTestSupport
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

    @Test("a reply fits its schema, and is cut off before a text that ends it") func rules() async throws {
        let folder = try Golden.speaker()
        let schema = try folder.write(#"{"enum": ["red", "green"]}"#, to: "schema.json")
        let arguments = ["generate", "--model", folder.url.path, "--prompt", "x", "--max-tokens", "60", "--json"]
        let fitting = try await Program.run(arguments + ["--json-schema", schema]).json
        let text = try #require(fitting["text"] as? String)
        #expect(["\"red\"", "\"green\""].contains(text.trimmingCharacters(in: .whitespacesAndNewlines)))
        #expect(fitting["stop_reason"] as? String == "stop")
        let plain = try #require(try await Program.run(arguments).json["text"] as? String)
        let stop = String(try #require(plain.dropFirst(8).first { $0.isASCII }))
        let cut = try await Program.run(arguments + ["--stop", stop, "--stop", "never in there"]).json
        let found = try #require(plain.range(of: stop))
        #expect(cut["text"] as? String == String(plain[..<found.lowerBound]))
        #expect(cut["stop_reason"] as? String == "stop")
        let greedy = try await Program.run(arguments + ["--temperature", "0"]).json["text"] as? String
        #expect(try await Program.run(arguments + ["--top-k", "1"]).json["text"] as? String == greedy)
        let penalties = ["--repetition-penalty", "1.5", "--presence-penalty", "-1", "--frequency-penalty", "0.5"]
        #expect(try await Program.run(arguments + ["--min-p", "0.9"]).json["text"] as? String != plain)
        #expect(try await Program.run(arguments + penalties).json["text"] as? String != plain)
    }

    @Test("a schema that cannot be had is one error") func badSchemas() async throws {
        let folder = try Golden.speaker()
        let broken = try folder.write(#"{"type": "colour"}"#, to: "broken.json")
        for (schema, said) in [("missing.json", "cannot be read"), (broken, "\"type\"")] {
            let result = try await Program.run([
                "generate", "--model", folder.url.path, "--prompt", "x", "--json-schema", schema,
            ])
            #expect(result.status == 1 && result.stderr.hasPrefix("error: --json-schema: "))
            #expect(result.stderr.contains(said), "\(result.stderr)")
        }
        let ids = try await Program.run(["generate", "--model", Golden.model("sparse"), "--tokens", "1", "--stop", "x"])
        #expect(ids.status == 1 && ids.stderr.contains("no tokenizer.json"))
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

    @Test("a prompt is read once: the next process finds what was kept, and says the same") func prefixCache()
        async throws
    {
        let (folder, speaker) = (try TemporaryFolder(), try Golden.speaker())
        let (cache, text) = (
            folder.path("cache").path, String(repeating: "What is known is not read again. ", count: 9)
        )
        func reply(_ prompt: String, _ more: String...) async throws -> [String: Any] {
            try await Program.run(
                ["generate", "--model", speaker.url.path, "--prompt", prompt, "--max-tokens", "8", "--json"] + more
            ).json
        }
        let plain = try await reply(text + "one")
        #expect(plain["cached_tokens"] == nil)
        let first = try await reply(text + "one", "--prefix-cache", cache)
        let again = try await reply(text + "one", "--prefix-cache", cache)
        let other = try await reply(text + "two", "--prefix-cache", cache)
        // One token a byte.
        #expect(first["cached_tokens"] as? Int == 0 && again["cached_tokens"] as? Int == text.utf8.count + 2)
        #expect(other["cached_tokens"] as? Int == text.utf8.count)
        for found in [first, again] {
            #expect(found["tokens"] as? [Int] == plain["tokens"] as? [Int])
            #expect(found["logprobs"] as? [Double] == plain["logprobs"] as? [Double])
        }
        let fresh = try await reply(text + "two")
        #expect(other["logprobs"] as? [Double] == fresh["logprobs"] as? [Double])

        // Another model in the same folder finds nothing, and a folder that is none is one error.
        let drafter = try Golden.speaker(drafts: true)
        let strange = try await Program.succeed(
            "generate", "--model", drafter.url.path, "--prompt", text, "--max-tokens", "1", "--json", "--prefix-cache",
            cache)
        #expect(try strange.json["cached_tokens"] as? Int == 0 && strange.stderr.contains("pages of another model"))
        let file = try folder.write("x", to: "file")
        let bad = try await Program.run([
            "chat", "--model", speaker.url.path, "--prefix-cache", file,
        ])
        #expect(bad.status == 1 && bad.stderr.hasPrefix("error: ") && bad.stderr.contains(file))
    }

    @Test("a chat goes on from an earlier one's prefixes, and is the same without") func keptChat() async throws {
        let (folder, speaker) = (try TemporaryFolder(), try Golden.speaker(drafts: true))
        let arguments = ["chat", "--model", speaker.url.path, "--max-tokens", "20", "--seed", "3", "--drafts", "2"]
        let input = "Hello there\nGo on\n/reset\nHello there\nGo on\n"
        let plain = try await Program.run(arguments, input: input)
        #expect(plain.status == 0 && plain.text.count > 60)
        for _ in 0..<2 {
            let kept = try await Program.run(arguments + ["--prefix-cache", folder.path("c").path], input: input)
            #expect(kept.text == plain.text && kept.stderr.isEmpty)
        }
    }

    @Test("a process that is killed while it keeps prefixes leaves nothing wrong") func killedWhileKeeping()
        async throws
    {
        let (folder, speaker) = (try TemporaryFolder(), try Golden.speaker())
        let cache = folder.path("cache")
        var mutator = Mutator(seed: 1, number: 7)
        func prompt(_ number: Int) -> [String] {
            let text = (0..<40).map { "line \($0 + number / 3 % 2) of \(number). " }.joined()
            return ["generate", "--model", speaker.url.path, "--prompt", text, "--max-tokens", "4", "--json"]
        }
        var length = Duration.milliseconds(100)
        for number in 0..<12 {
            let began = ContinuousClock.now
            let moment = length * Double(mutator.below(1000)) / 800
            let status = try await Program.run(prompt(number % 4) + ["--prefix-cache", cache.path]) { process in
                while ContinuousClock.now - began < moment, !Program.hasEnded(process) {
                    try await Task.sleep(for: .milliseconds(1))
                }
                kill(process, SIGKILL)
            }
            if status == 0 { length = ContinuousClock.now - began } else { length += .milliseconds(20) }
        }
        for number in 0..<4 {
            let plain = try await Program.run(prompt(number)).json
            let kept = try await Program.run(prompt(number) + ["--prefix-cache", cache.path])
            #expect(kept.status == 0 && kept.stderr.split(separator: "\n").allSatisfy { $0.hasPrefix("note: ") })
            #expect(try kept.json["logprobs"] as? [Double] == plain["logprobs"] as? [Double])
        }
    }

    @Test("a conversation that is too long is refused and goes on") func longChat() async throws {
        let folder = try Golden.speaker()
        let long = String(repeating: "x", count: 4200)
        let chat = try await Program.succeed(
            "chat", "--model", folder.url.path, "--max-tokens", "4", input: "\(long)\nshort\n")
        #expect(chat.stderr.contains("4096") && !chat.text.isEmpty)
    }
}
