import Foundation
import GlimTestSupport
import GlimText
import Testing

@Suite("outputs of every kind") struct ProtocolFuzzTests {
    /// Text that no tag is made of, so that one can see whether any of it got lost.
    private static let words = ["0", "17", "é", "中文", "😀", "👍🏽", "{", "}", "\"", "'", "1, 2", " ", "\n", "\u{300}"]
    private static let tags = ControlToken.allCases.map(\.rawValue)
    private static let likelyTags: [ControlToken] = [
        .beginThink, .endThink, .beginToolCall, .endToolCall, .beginArgumentKey, .endArgumentKey, .beginArgumentValue,
        .endArgumentValue,
    ]

    /// A call as it should be, or a few pieces of anything.
    static func output(_ draw: inout Draw) -> [String] {
        var pieces: [String] = []
        for _ in 0..<draw.integer(0...12) {
            switch draw.integer(0...9) {
            case 0...2: pieces.append(draw.pick(words))
            case 3...6: pieces.append(draw.pick(likelyTags).rawValue)
            case 7: pieces.append(draw.pick(tags))
            case 8: pieces.append(String(draw.pick(tags).dropLast(draw.integer(1...3))))
            default:
                pieces += ["<tool_call>", "17"]
                for _ in 0..<draw.integer(0...2) {
                    pieces += ["<arg_key>", draw.pick(words), "</arg_key>", "<arg_value>"]
                    pieces += [draw.pick(words), "</arg_value>"]
                }
                pieces += ["</tool_call>"]
            }
        }
        return pieces
    }

    /// All that the events have of an output, in its order.
    private static func text(_ events: [OutputEvent]) -> String {
        var (text, call) = ("", "")
        for event in events {
            switch event {
            case .reasoning(let piece), .content(let piece): text += piece
            case .callBegin(let name): call = name
            case .argumentBegin(let name, _): call += name
            case .argument(let piece): call += piece
            case .callEnd: text += call
            case .callFailed(let piece, _): text += piece
            case .reasoningEnd, .argumentEnd, .stray, .end: break
            }
        }
        return text
    }

    /// What is no tag and no part of one, white space aside.
    private static func words(of text: String) -> String {
        let kept = Set(words.joined().unicodeScalars.filter { !$0.properties.isWhitespace })
        return String(String.UnicodeScalarView(text.unicodeScalars.filter(kept.contains)))
    }

    @Test("any output has one meaning however it is cut, and nothing of it is lost or leaks") func anything() throws {
        let tokenizer = try ProtocolParserTests.tokenizer.get()
        let count = ProcessInfo.processInfo.environment["GLIM_FUZZ_COUNT"].flatMap { Int($0) } ?? 5000
        let seed = ProcessInfo.processInfo.environment["GLIM_FUZZ_SEED"].flatMap { Int($0) } ?? 1
        for number in 0..<count {
            var draw = Draw(seed, "output \(number)")
            let pieces = Self.output(&draw)
            let startsThinking = draw.chance(0.5)
            let what = "output \(number) of seed \(seed): \(pieces.joined().debugDescription)"

            // As text, whole and in pieces.
            let bytes = Array(pieces.joined().utf8)
            let whole = ProtocolParserTests.parse(bytes, startsThinking: startsThinking).merged()
            for chunk in [1, 2, draw.integer(3...20)] {
                let cut = ProtocolParserTests.parse(bytes, chunk: chunk, startsThinking: startsThinking).merged()
                #expect(cut == whole, "\(what) in pieces of \(chunk)")
            }
            #expect(isSame(Self.words(of: Self.text(whole)), Self.words(of: pieces.joined())), "\(what)")
            if case .end? = whole.last {} else { Issue.record("no end: \(what)") }

            // As tokens, where text is never a tag. What follows a stop token is not part of the output.
            let parts = pieces.prefix { !["<|user|>", "<|observation|>", "<|endoftext|>"].contains($0) }
            let ids = pieces.flatMap { piece in
                ControlToken(rawValue: piece).flatMap(tokenizer.id(of:)).map { [$0] } ?? tokenizer.encode(piece)
            }
            let events = try ProtocolParserTests.parse(ids, startsThinking: startsThinking).merged()
            #expect(isSame(Self.words(of: Self.text(events)), Self.words(of: parts.joined())), "\(what) as tokens")
            let hasHalfTags = pieces.contains { $0.contains("<") && ControlToken(rawValue: $0) == nil }
            for case .content(let text) in events where !hasHalfTags {
                #expect(!text.contains("<"), "\(what) leaks")
            }

            // Bytes that are no text.
            var mutator = Mutator(seed: UInt64(seed), number: number)
            let broken = mutator.mutate(MutableFile(bytes, .toml), donor: MutableFile(bytes, .toml)).prefix(4096)
            let brokenWhole = ProtocolParserTests.parse(Array(broken), startsThinking: startsThinking).merged()
            let brokenCut = ProtocolParserTests.parse(Array(broken), chunk: 1, startsThinking: startsThinking).merged()
            #expect(brokenCut == brokenWhole, "\(what) damaged")
        }
    }

    @Test("any ids have a meaning") func anyIDs() throws {
        for number in 0..<500 {
            var draw = Draw(number)
            let ids = (0..<draw.integer(0...60)).map { _ in
                Int32(draw.chance(0.6) ? draw.integer(256...291) : draw.integer(-3...330))
            }
            let events = try ProtocolParserTests.parse(ids, startsThinking: draw.chance(0.5))
            if case .end? = events.last {} else { Issue.record("no end: \(ids)") }
            #expect(events.filter { if case .end = $0 { true } else { false } }.count == 1)
        }
    }

    @Test("what a template writes for an assistant is parsed, and written again", arguments: ChatTemplate.allCases)
    func roundTrip(template: ChatTemplate) throws {
        let tokenizer = try ProtocolParserTests.tokenizer.get()
        var (count, textCount) = (0, 0)
        for one in try RenderedConversation.all(template) {
            var prompt = try one.prompt
            prompt.clearsThinking = false
            let pieces = template.pieces(prompt)
            for index in prompt.messages.indices where prompt.messages[index].role == .assistant {
                let written = pieces.filter { $0.message == index && $0.part != .marker }
                let events = try ProtocolParserTests.parse(
                    tokenizer.encode(written), tools: prompt.tools, startsThinking: true)
                var changed = prompt
                changed.messages[index] = ParsedOutput(events).message
                // Ids are not written, nor is a thinking of white space told from none: GLM-5 writes it another way.
                for number in prompt.messages[index].toolCalls.indices {
                    changed.messages[index].toolCalls[number].id = prompt.messages[index].toolCalls[number].id
                }
                if template == .glm5 || template == .glm51, written.text.hasPrefix("<think></think>") { continue }
                let again = template.pieces(changed)
                #expect(isSame(again.text, pieces.text))
                // Who produced an empty `<think></think>` is known of what was parsed only.
                #expect(again == pieces || template != .glm5)
                count += 1

                // As text it is the same, unless words in it look like tags.
                let looksTagged = written.contains {
                    if case .text(let text) = $0.body { text.contains("<") } else { false }
                }
                if looksTagged { continue }
                let fromText = ProtocolParserTests.parse(
                    Array(written.text.utf8), chunk: 3, tools: prompt.tools, startsThinking: true)
                #expect(fromText.merged() == events.merged())
                textCount += 1
            }
        }
        #expect(count > 60 && textCount > 15)
    }
}
