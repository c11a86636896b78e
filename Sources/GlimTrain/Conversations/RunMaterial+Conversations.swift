import Foundation
package import GlimText

extension RunMaterial {
    /// Conversations, and text between them, one JSON line a document. Those longer than a row, and those that teach
    /// nothing, are left out, and the report says so.
    ///
    /// - Parameter rowLength: tokens of the longest row.
    /// - Throws: `DataError` for a line that is neither, `RunError` where none is left to train on.
    package init(
        conversations text: RunText, _ tokenizer: Tokenizer, _ template: ChatTemplate, rowLength: Int, threads: Int?
    ) throws {
        let encoder = try ConversationEncoder(tokenizer, template)
        var report = text.report
        typealias Encoded = (tokens: TaughtTokens, unread: [String])
        func encode(_ documents: [Document]) -> [Result<Encoded, DataError>] {
            TokenStore.map(documents, threads: threads) { document -> Result<Encoded, DataError> in
                do throws(ProtocolError) {
                    let line = try TaughtLine(parsing: document.bytes)
                    return .success((encoder.encode(line), line.unreadMembers))
                } catch {
                    return .failure(.malformedConversation(document.name, why: error.description))
                }
            }
        }
        func kept(_ documents: [Document], _ encoded: [TaughtTokens]) -> (documents: [Document], store: TokenStore) {
            let all = TokenStore(encoded.map(\.tokens), taught: encoded.map(\.taught))
            var places: [Int] = []
            for place in documents.indices {
                if let reason = ConversationRows.reasonToLeaveOut(place, of: all, length: rowLength) {
                    report.leaveOut(documents[place], reason)
                } else {
                    places.append(place)
                }
            }
            return (
                places.map { documents[$0] },
                TokenStore(places.map { encoded[$0].tokens }, taught: places.map { encoded[$0].taught })
            )
        }
        let lines = try Self.read(encode(text.training + text.validation))
        let training = kept(text.training, lines.prefix(text.training.count).map(\.tokens))
        let validation = kept(text.validation, lines.dropFirst(text.training.count).map(\.tokens))
        let totals = report.totals
        guard !training.documents.isEmpty else {
            throw RunError(
                "no conversation is left to learn: \(totals.skippedTooLong) are longer than a row of \(rowLength) tokens, "
                    + "in \(totals.skippedUntaught) nothing is taught; give a greater --sequence-length, or "
                    + "conversations in which the assistant has a message that is no error")
        }
        let prompts = validation.documents.lazy.compactMap { document in
            (try? Conversation(parsing: document.bytes)).flatMap(encoder.opening(of:))
        }
        var text = text
        (text.training, text.validation, text.report) = (training.documents, validation.documents, report)
        self.init(
            text: text, tokenizer: tokenizer, store: training.store, validation: validation.store,
            prompts: Array(prompts.prefix(Self.promptCount)), isConversations: true)
        for name in lines.flatMap(\.unread) { unreadMembers[name, default: 0] += 1 }
    }

    /// What all lines hold.
    ///
    /// - Throws: `DataError` of the first that cannot be read, which tells how many more there are.
    private static func read<T>(_ lines: [Result<T, DataError>]) throws(DataError) -> [T] {
        let wrong = lines.compactMap { line -> (place: String, why: String)? in
            if case .failure(.malformedConversation(let place, let why)) = line { (place, why) } else { nil }
        }
        // Those that validate were drawn from all over the files.
        if let first = wrong.min(by: { $0.place.compare($1.place, options: .numeric) == .orderedAscending }) {
            let more = wrong.count - 1
            let others = more == 0 ? "" : " (\(more) more \(more == 1 ? "line" : "lines") cannot be read either)"
            throw .malformedConversation(first.place, why: first.why + others)
        }
        return try lines.map { line throws(DataError) in try line.get() }
    }

    /// How many questions samples answer.
    private static let promptCount = 3
}
