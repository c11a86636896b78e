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
        func kept(_ documents: [Document]) throws(DataError) -> (documents: [Document], store: TokenStore) {
            let results = TokenStore.map(documents, threads: threads) { document -> Result<TaughtTokens, DataError> in
                do throws(ProtocolError) {
                    return .success(encoder.encode(try TaughtLine(parsing: document.bytes)))
                } catch {
                    return .failure(.malformedConversation(document.name, why: error.description))
                }
            }
            let encoded = try results.map { result throws(DataError) in try result.get() }
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
        let (training, validation) = (try kept(text.training), try kept(text.validation))
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
    }

    /// How many questions samples answer.
    private static let promptCount = 3
}
