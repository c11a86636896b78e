import GlimText
import GlimTrain
import Testing

@Suite("Reasoning: demonstrations as conversations") struct ReasoningConversationTests {
    private static let mixture = ReasoningMixture(.easy)
    private static let demonstrations = ReasoningDemonstrations(mixture, seed: 6)
    private static let count = 2000
    private static let all = (0..<count).map { (demonstrations.mode($0), demonstrations.conversation($0)) }

    private func replies(_ prompt: ChatPrompt) -> [ChatMessage] { prompt.messages.filter { $0.role == .assistant } }

    @Test("every mode is there with its share, and thinks as its name says") func modes() {
        var counts: [ReasoningDemonstrations.Mode: Int] = [:]
        var turnCounts: [ReasoningDemonstrations.Mode: Set<Int>] = [:]
        var patterns: Set<[Bool]> = []
        for (mode, prompt) in Self.all {
            counts[mode, default: 0] += 1
            let thinks = replies(prompt).map { $0.reasoning != nil }
            turnCounts[mode, default: []].insert(thinks.count)
            #expect(prompt.messages.map(\.role) == thinks.flatMap { _ in [ChatMessage.Role.user, .assistant] })
            #expect(prompt.enablesThinking == thinks.last && !prompt.addsGenerationPrompt && prompt.tools.isEmpty)
            #expect(prompt.clearsThinking == (mode == .interleaved || mode == .off))
            switch mode {
            case .interleaved, .preserved: #expect(!thinks.contains(false))
            case .off: #expect(!thinks.contains(true))
            case .turnLevel:
                #expect(Set(thinks).count == 2)
                patterns.insert(thinks)
            }
        }
        // Expected 1200, 300, 200 and 300, with deviations of 22, 16, 13 and 16.
        #expect((1100...1300).contains(counts[.interleaved]!) && (230...370).contains(counts[.preserved]!))
        #expect((140...260).contains(counts[.turnLevel]!) && (230...370).contains(counts[.off]!))
        #expect(turnCounts[.interleaved] == [1, 2, 3] && turnCounts[.off] == [1, 2, 3])
        #expect(turnCounts[.preserved] == [2, 3] && turnCounts[.turnLevel] == [2, 3])
        #expect(patterns.count == 2 + 6)
        let single = Self.all.count { $0.0 == .interleaved && replies($0.1).count == 1 }
        #expect((7 * counts[.interleaved]! / 10...8 * counts[.interleaved]! / 10).contains(single), "\(single)")
    }

    @Test("questions are of training, each asked once, and answered right") func split() {
        let evaluated = Set(
            ReasoningFamily.tasks.flatMap { task in
                (0..<500).map { task.instance($0, level: .easy, split: .evaluation, seed: 6).question }
            })
        var asked: [String] = []
        for (index, (_, prompt)) in Self.all.enumerated() {
            for (turn, reply) in replies(prompt).enumerated() {
                let instance = Self.mixture.instance(3 * index + turn, split: .training, seed: 6)
                #expect(prompt.messages[2 * turn] == .user(instance.question) && instance.split == .training)
                guard case .text(let answer) = reply.content else { return #expect(Bool(false)) }
                #expect(instance.grade(answer) == 1)
                if let reasoning = reply.reasoning { #expect(reasoning == instance.thinking) }
                asked.append(instance.question)
            }
        }
        #expect(evaluated.isDisjoint(with: asked))
        #expect(Double(Set(asked).count) > 0.99 * Double(asked.count))
    }

    @Test("a function of the seed and the number") func function() {
        let (again, other) = (
            ReasoningDemonstrations(ReasoningMixture(.easy), seed: 6), ReasoningDemonstrations(Self.mixture, seed: 7)
        )
        for index in [1999, 0, 7] {
            #expect(again.conversation(index) == Self.all[index].1 && again.mode(index) == Self.all[index].0)
            #expect(other.conversation(index) != Self.all[index].1)
        }
    }

    @Test("a line read back is the conversation, and what a template renders is parsed as its last reply")
    func roundTrip() throws {
        for (_, prompt) in Self.all.prefix(300) {
            let line = prompt.json.compact
            #expect(!line.contains("\n"))
            #expect(try ChatPrompt(parsing: line.utf8) == prompt)
            for template in [ChatTemplate.glm5, .glm51, .glm52] {
                var asked = prompt
                let reply = asked.messages.removeLast()
                asked.addsGenerationPrompt = true
                let (whole, question) = (template.trainingPieces(prompt).text, template.pieces(asked).text)
                try #require(whole.hasPrefix(question), "\(template): \(whole)")
                var parser = OutputTextParser(startsThinking: template.opensThinking(asked))
                let events = parser.push(String(whole.dropFirst(question.count))) + parser.finish()
                let output = ParsedOutput(events)
                #expect(output.reasoning == reply.reasoning && .text(output.content) == reply.content)
                #expect(output.stop == .user)
            }
        }
    }

    @Test("GLM-5 sees the thinking that each mode shows") func rendered() {
        for (mode, prompt) in Self.all.prefix(300) {
            let text = ChatTemplate.glm5.trainingPieces(prompt).text
            let shown = text.components("<think>") - 1
            #expect(text.components("</think>") - 1 == replies(prompt).count)
            switch mode {
            case .interleaved: #expect(shown == 1)
            case .preserved: #expect(shown == replies(prompt).count)
            case .turnLevel: #expect(shown == replies(prompt).count { $0.reasoning != nil })
            case .off: #expect(shown == 0)
            }
        }
    }

    @Test("a prompt with everything comes back from its JSON") func everything() throws {
        let tool = ToolDefinition(try JSON(parsing: #"{"name": "f", "parameters": {}}"#.utf8))
        let prompt = ChatPrompt(
            [.system("s"), .user("u\n\"q\""), .assistant("", reasoning: "", calls: [ToolCall(id: "1", name: "f")])],
            tools: [tool], addsGenerationPrompt: true, enablesThinking: false, clearsThinking: false, effort: .low)
        #expect(try ChatPrompt(parsing: prompt.json.compact.utf8) == prompt)
        let plain = ChatPrompt([.user("u")])
        #expect(plain.json.compact == #"{"messages":[{"role":"user","content":"u"}]}"#)
        #expect(try ChatPrompt(plain.json) == plain)
    }
}

extension String {
    /// How many parts a separator makes.
    fileprivate func components(_ separator: String) -> Int {
        split(separator: separator, omittingEmptySubsequences: false).count
    }
}
