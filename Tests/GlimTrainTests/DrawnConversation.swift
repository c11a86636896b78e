import GlimTestSupport
import GlimText
import GlimTrain

/// A conversation drawn from a seed, and which of its tokens should be learned: worked out on the rendered tokens and on
/// what was drawn, without asking the template what the assistant produces.
struct DrawnConversation {
    /// What the tokens do not tell about a message of the assistant.
    private struct Reply {
        /// Its reasoning is given, be it empty.
        var knowsReasoning: Bool
        var callCount: Int
        var isWrong: Bool
        var wrongCalls: Set<Int>
        /// Of the user, how many messages came before.
        var turn: Int
    }

    let json: JSON
    private var replies: [Reply] = []
    private var turnCount = 0
    private let endsWithReply: Bool
    private let clearsThinking: Bool?

    var line: String { json.compact }

    init(_ number: Int, seed: Int = 0) {
        var draw = Draw(number, "conversation.\(seed)")
        var messages = draw.chance(0.5) ? [Self.message("system", [draw.content(4)])] : []
        for _ in 0..<draw.integer(1...4) {
            messages.append(Self.message("user", [draw.content(12)]))
            turnCount += 1
            for _ in 0..<draw.integer(0...3) {
                // Now and then a system's message comes between, or a result is missing: somebody else speaks next.
                if draw.chance(0.12) { messages.append(Self.message("system", [draw.content(3)])) }
                let ids = (0..<draw.integer(0...2)).map { "call-\(messages.count)-\($0)" }
                let (reply, members) = Self.reply(&draw, ids, turn: turnCount)
                replies.append(reply)
                messages.append(Self.message("assistant", members))
                if draw.chance(0.2) { continue }
                for id in draw.chance(0.5) ? ids : ids.reversed() {
                    messages.append(Self.message("tool", [draw.content(6), .init("tool_call_id", .string(id))]))
                }
            }
        }
        endsWithReply = messages.last?["role"]?.string == "assistant"
        clearsThinking = draw.pick([nil, true, false])
        var members: [JSON.Member] = [.init("messages", .array(messages))]
        if draw.chance(0.5) {
            let tool: [JSON.Member] = [.init("name", .string("tool0")), .init("description", .string(draw.words(6)))]
            let envelope: [JSON.Member] = [.init("type", .string("function")), .init("function", .object(tool))]
            members.append(.init("tools", .array([.object(envelope)])))
        }
        if let clearsThinking { members.append(.init("clear_thinking", .bool(clearsThinking))) }
        if draw.chance(0.67) { members.append(.init("enable_thinking", .bool(draw.chance(0.5)))) }
        if draw.chance(0.5) { members.append(.init("reasoning_effort", .string(draw.pick(["low", "high"])))) }
        json = .object(members)
    }

    private static func message(_ role: String, _ members: [JSON.Member]) -> JSON {
        .object([.init("role", .string(role))] + members)
    }

    private static func reply(_ draw: inout Draw, _ ids: [String], turn: Int) -> (Reply, [JSON.Member]) {
        var reply = Reply(
            knowsReasoning: true, callCount: ids.count, isWrong: draw.chance(0.25), wrongCalls: [], turn: turn)
        var members: [JSON.Member]
        switch draw.integer(0...4) {
        case 0: members = [draw.content(9), .init("reasoning_content", .string(draw.pick(["", " "])))]
        case 1: members = [.init("content", .string("<think>\(draw.words(4))</think>\(draw.words(4))"))]
        case 2, 3: members = [draw.content(9), .init("reasoning_content", .string(draw.words(9)))]
        default: (members, reply.knowsReasoning) = ([draw.content(9)], false)
        }
        var calls: [JSON] = []
        for (number, id) in ids.enumerated() {
            let arguments: [JSON.Member] = (0..<draw.integer(0...2)).map { .init("key\($0)", .string(draw.words(3))) }
            let function: [JSON.Member] = [
                .init("name", .string("tool\(draw.integer(0...2))")), .init("arguments", .object(arguments)),
            ]
            var call: [JSON.Member] = [.init("id", .string(id)), .init("function", .object(function))]
            if draw.chance(0.33) {
                reply.wrongCalls.insert(number)
                call.append(.init("error", .bool(true)))
            }
            calls.append(.object(call))
        }
        if !calls.isEmpty { members.append(.init("tool_calls", .array(calls))) }
        if reply.isWrong || draw.chance(0.25) { members.append(.init("error", .bool(reply.isWrong))) }
        return (reply, members)
    }

    /// The tokens that a model learns from, and of each whether it is learned.
    func expected(_ template: ChatTemplate, _ tokenizer: Tokenizer) throws -> TaughtTokens {
        func id(_ token: String) -> Int32 { tokenizer.id(ofAdded: token) ?? -1 }
        var result = TaughtTokens()
        result.tokens = tokenizer.encode(template.pieces(try ChatPrompt(json)))
        func stop(_ reply: Reply) -> Int32 { id(reply.callCount > 0 ? "<|observation|>" : "<|user|>") }
        if endsWithReply, let last = replies.last { result.tokens.append(stop(last)) }
        let tokens = result.tokens
        result.taught = tokens.map { _ in false }
        let markers = ["<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"].map(id)
        let starts = tokens.indices.filter { tokens[$0] == id("<|assistant|>") }
        for (start, reply) in zip(starts, replies) where !reply.isWrong {
            // How a reply begins is written for it: to think or not. That it ends, or is empty, it decides itself.
            let clears = clearsThinking ?? (template != .glm53)
            let thinksItself = reply.knowsReasoning && (reply.turn == turnCount || !clears)
            var place = start + 1
            if tokens[place] == id("<think>") {
                place += 1
                if tokens[place] == id("</think>"), !thinksItself { place += 1 }
            } else {
                place += 1
            }
            var (call, isInWrongCall) = (0, false)
            while place < tokens.count, !markers.contains(tokens[place]) {
                if tokens[place] == id("<tool_call>") {
                    isInWrongCall = reply.wrongCalls.contains(call)
                    call += 1
                }
                result.taught[place] = !isInWrongCall
                if tokens[place] == id("</tool_call>") { isInWrongCall = false }
                place += 1
            }
            if place < tokens.count, tokens[place] == stop(reply) { result.taught[place] = true }
        }
        return result
    }
}

extension Draw {
    /// Up to so many. Some look like what the template writes.
    fileprivate mutating func words(_ most: Int) -> String {
        let words = [
            "rain", "owl", "x = 3;", "das Öl", "漢字", "a\nb", "<b>", "0.5", "\"so\"", "<|user|>", "<tool_call>",
            "<think>",
        ]
        return (0..<integer(1...most)).map { _ in pick(words) }.joined(separator: pick([" ", "  "]))
    }

    fileprivate mutating func content(_ most: Int) -> JSON.Member { .init("content", .string(words(most))) }
}
