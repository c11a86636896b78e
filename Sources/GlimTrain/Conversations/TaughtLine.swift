public import GlimText

/// A line of the data of fine-tuning: a conversation, or `{"text": …}`, which is learned as in pre-training, so that a
/// model that learns to answer does not forget what it knew.
public enum TaughtLine: Sendable, Equatable {
    case conversation(Conversation)
    case text(String)

    /// Reads one line.
    ///
    /// - Throws: `ProtocolError` that says which value is not what it should be.
    public init(parsing bytes: some Sequence<UInt8>) throws(ProtocolError) {
        let json: JSON
        do throws(JSONError) { json = try JSON(parsing: bytes) } catch { throw .notJSON(why: error.description) }
        guard json["messages"] == nil, let value = json["text"] else {
            self = .conversation(try Conversation(json))
            return
        }
        guard let text = value.string, !text.isEmpty else { throw .malformed("text", value, expected: "a text") }
        self = .text(text)
    }

    /// Of a conversation what nothing reads.
    var unreadMembers: [String] {
        if case .conversation(let conversation) = self { conversation.unreadMembers } else { [] }
    }
}
