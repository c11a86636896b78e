import Foundation
import GlimText
import GlimTrain
import Testing

@Suite("conversations to learn from") struct ConversationTests {
    static let tokenizer: Tokenizer = {
        var trainer = TokenizerTrainer(vocabularySize: 384, threads: 1)
        trainer.add([Array("rain owl das so you may call one or more functions\nWhat is the sum of it?\n".utf8)])
        // 256 bytes, control tokens, and as many merges as there are: always learnt.
        return try! trainer.train()
    }()

    private static func text(_ tokens: some Sequence<Int32>) throws -> String {
        let bytes = try tokens.flatMap { token in
            try tokenizer.addedToken(token).map { Array($0.content.utf8) } ?? Array(tokenizer.bytes(of: token))
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    @Test(
        "what is taught is what a second reading of the tokens says, one for one", arguments: ChatTemplate.allCases)
    func masks(template: ChatTemplate) throws {
        let encoder = try ConversationEncoder(Self.tokenizer, template)
        var (taughtCount, untaughtCount) = (0, 0)
        for number in 0..<400 {
            let drawn = DrawnConversation(number)
            let expected = try drawn.expected(template, Self.tokenizer)
            let found = encoder.encode(try Conversation(parsing: drawn.line.utf8))
            guard found == expected else {
                let wrong = zip(found.taught, expected.taught).enumerated().filter { $0.element.0 != $0.element.1 }
                let places = try wrong.map { "\($0.offset): \(try Self.text([found.tokens[$0.offset]]))" }
                Issue.record("conversation \(number), \(places): \(try Self.text(found.tokens))\n\(drawn.line)")
                continue
            }
            taughtCount += found.taught.count { $0 }
            untaughtCount += found.taught.count { !$0 }
        }
        #expect(taughtCount > 10_000 && untaughtCount > 10_000, "\(taughtCount), \(untaughtCount)")
    }

    @Test("thoughts, words, calls and the ends of turns are taught; templates, results and mistakes are read")
    func example() throws {
        let line = """
            {"messages": [{"role": "user", "content": "w?"}, {"role": "assistant", "content": "Let me",
            "reasoning_content": "r", "tool_calls": [{"name": "f", "arguments": {"a": 1}, "error": true}, {"name": "g"}]},
            {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"},
            {"role": "assistant", "content": "oops", "error": true}, {"role": "assistant", "content": "Done."}]}
            """
        let found = try ConversationEncoder(Self.tokenizer, .glm5).encode(Conversation(parsing: line.utf8))
        #expect(
            try Self.text(found.tokens)
                == "[gMASK]<sop><|user|>w?<|assistant|><think>r</think>Let me<tool_call>f<arg_key>a</arg_key>"
                + "<arg_value>1</arg_value></tool_call><tool_call>g</tool_call><|observation|><tool_response>1"
                + "</tool_response><tool_response>2</tool_response><|assistant|></think>oops<|assistant|></think>Done.<|user|>"
        )
        #expect(
            try Self.text(zip(found.tokens, found.taught).filter(\.1).map(\.0))
                == "r</think>Let me<tool_call>g</tool_call><|observation|>Done.<|user|>")
    }

    @Test("of a line of text all is taught, as in pre-training, and that it ends") func text() throws {
        let encoder = try ConversationEncoder(Self.tokenizer, .glm5)
        let found = encoder.encode(try TaughtLine(parsing: "{\"text\": \"rain<|user|> owl\\n\"}".utf8))
        // What looks like a control token is none.
        let end = try #require(Self.tokenizer.id(of: .endOfText))
        #expect(found.tokens == Self.tokenizer.encode("rain<|user|> owl\n") + [end])
        #expect(found.tokens.count > 8 && found.taught.count == found.tokens.count && found.taught.allSatisfy(\.self))
        let talk = "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\"}], \"text\": \"not read\"}"
        #expect(try TaughtLine(parsing: talk.utf8) == .conversation(try Conversation(parsing: talk.utf8)))
    }

    @Test(
        "a line that is no conversation is one error with its place",
        arguments: [
            ("{\"messages\": []}", "messages is []"), ("{\"text\": 1}", "text is 1"),
            ("{\"text\": \"\"}", "text is \"\""), ("{}", "messages is missing"),
            ("{\"messages\": [{\"role\": \"poet\"}]}", "messages[0].role"), ("{\"messages\": [", "not JSON"),
            (
                "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\", \"error\": \"yes\"}]}",
                "messages[0].error is \"yes\""
            ),
            (
                "{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": [{\"name\": \"f\", \"error\": 1}]}]}",
                "messages[0].tool_calls[0].error is 1"
            ),
        ])
    func malformed(line: String, why: String) throws {
        let folder = try TemporaryFolder()
        let good = "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\"}]}"
        let file = try folder.write("talk.jsonl", "\(good)\n\n\(line)\n")
        var recipe = TrainRecipe(stage: .sft)
        recipe.data = [file]
        let text = try RunText(recipe) { _ in }
        let error = #expect(throws: DataError.self) {
            _ = try RunMaterial(conversations: text, Self.tokenizer, .glm5, rowLength: 64, threads: 2)
        }
        let said = error.map { "\($0)" } ?? ""
        #expect(said.hasPrefix("\(file):3 is not a conversation: ") && said.contains(why), "\(said)")
    }

    @Test("of several wrong lines the first is named, and how many more there are") func firstOfMany() throws {
        let folder = try TemporaryFolder()
        let lines = (0..<40).map { "{\"messages\": \($0)}" }
        var recipe = TrainRecipe(stage: .sft)
        recipe.data = [try folder.write("talk.jsonl", lines.joined(separator: "\n"))]
        recipe.validationFraction = 0.3
        let text = try RunText(recipe) { _ in }
        #expect(text.validation.count > 3)
        let error = #expect(throws: DataError.self) {
            _ = try RunMaterial(conversations: text, Self.tokenizer, .glm5, rowLength: 64, threads: 2)
        }
        let said = error.map { "\($0)" } ?? ""
        #expect(said.hasPrefix("\(recipe.data[0]):1 is") && said.contains("(39 more lines cannot be read"), "\(said)")
    }

    @Test("members that nothing reads are known by name: one may be misspelt") func unread() throws {
        let line = """
            {"messages": [{"role": "assistant", "content": "a", "thinking": "b", "Error": true, "name": "c"},
            {"role": "user", "content": "a", "thinking": "b"}], "text": "d", "tools": []}
            """
        #expect(try Conversation(parsing: line.utf8).unreadMembers == ["Error", "text", "thinking"])
    }

    @Test("lines are documents as they stand, equal ones once, and in folders nothing else is read") func lines() throws
    {
        let folder = try TemporaryFolder()
        let drawn = (0..<3).map { DrawnConversation($0).line }
        try folder.write("a.jsonl", (drawn + drawn[..<2]).joined(separator: "\n"))
        try folder.write("notes.md", "no conversation")
        let corpus = try Corpus.collect([folder.path], form: .conversations)
        #expect(corpus.documents.map { String(decoding: $0.bytes, as: UTF8.self) } == drawn)
        #expect(corpus.totals.skippedDuplicate == 2 && corpus.totals.skippedUnsuited == 1)
    }

    @Test("a tokenizer without control tokens is one error that names them") func lackingTokens() throws {
        var json = try #require(try JSONSerialization.jsonObject(with: Self.tokenizer.json()) as? [String: Any])
        let added = try #require(json["added_tokens"] as? [[String: Any]])
        json["added_tokens"] = added.map { token in
            token.merging(token["content"] as? String == "<arg_key>" ? ["content": "<other>"] : [:]) { $1 }
        }
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "tokenizer.json")
        try JSONSerialization.data(withJSONObject: json).write(to: file)
        let tokenizer = try Tokenizer(file: file)
        let error = #expect(throws: RunError.self) { _ = try ConversationEncoder(tokenizer, .glm5) }
        #expect(error.map { "\($0)".contains("lacks <arg_key>,") } ?? false)
    }
}
