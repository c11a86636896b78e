import Foundation
public import GlimEngine
public import GlimModel
public import GlimText

/// A model as a server shows it: its name, its engine, and its words.
public struct ServedModel: Sendable {
    /// By which clients ask for it.
    public let name: String
    let engine: Engine
    /// nil where the model comes without one: only token ids can be asked for then.
    private let words: Tokenizer?
    private let chat: Result<ChatFormat, ServiceError>
    private let shelf: SchemaShelf?
    let vocabularySize: Int
    /// Positions that a prompt and its reply may take, as the model and the engine's cache allow.
    let context: Int
    let endOfText: Set<Int32>
    /// Seconds since 1970 at which it came into service.
    let created: Int

    /// - Parameters:
    ///   - config: of the engine's model.
    ///   - name: by which clients ask for it.
    ///   - tokenizer: nil for a model of ids alone.
    ///   - template: how conversations become a prompt.
    public init(
        _ engine: Engine, _ config: ModelConfig, name: String, tokenizer: Tokenizer?, template: ChatTemplate = .glm5
    ) {
        (self.engine, self.name, words) = (engine, name, tokenizer)
        vocabularySize = config.vocabularySize
        context = min(config.maximumPositions, engine.positionLimit)
        endOfText = Set(config.endOfTextIDs.map { Int32($0) })
        created = Int(Date().timeIntervalSince1970)
        shelf = tokenizer.map(SchemaShelf.init)
        chat = Self.chat(tokenizer, template, config, name)
    }

    private static func chat(
        _ tokenizer: Tokenizer?, _ template: ChatTemplate, _ config: ModelConfig, _ name: String
    ) -> Result<ChatFormat, ServiceError> {
        guard let tokenizer else { return .failure(noWords(of: name)) }
        do {
            let (vocabulary, ends) = (config.vocabularySize, config.endOfTextIDs)
            return .success(try ChatFormat(tokenizer, template, vocabulary: vocabulary, endOfText: ends))
        } catch { return .failure(ServiceError(.invalidRequest, "\(name) cannot chat: \(error)")) }
    }

    private static func noWords(of name: String) -> ServiceError {
        ServiceError(.invalidRequest, "\(name) has no tokenizer.json; use /generate, with token ids")
    }

    /// - Throws: `ServiceError` for a model without words.
    func tokenizer() throws(ServiceError) -> Tokenizer {
        guard let words else { throw Self.noWords(of: name) }
        return words
    }

    /// The bytes of a token, none for an id without words.
    func bytes(of token: Int32) -> [UInt8] { (try? words?.bytes(of: token)).map(Array.init) ?? [] }

    /// The tokenizer where there is one.
    var anyTokenizer: Tokenizer? { words }

    /// - Throws: `ServiceError` where the model has no words, or none for the roles of a conversation.
    func chatFormat() throws(ServiceError) -> ChatFormat { try chat.get() }

    /// What keeps a reply to a format; nil where it may be any text.
    ///
    /// - Parameters:
    ///   - stops: the tokens that end a reply.
    ///   - token: behind which the document begins; nil begins at once.
    /// - Throws: `ServiceError` for a schema that cannot be kept to.
    func constraint(
        _ format: OutputFormat, stops: Set<Int32>, after token: Int32?
    ) throws(ServiceError) -> TokenConstraint? {
        guard let shelf else { throw Self.noWords(of: name) }
        return try shelf.constraint(format, stops: stops, after: token)
    }

    /// - Throws: `ServiceError` where a request names another model.
    func check(model: String) throws(ServiceError) {
        guard model == name else {
            throw ServiceError(.notFound, "there is no model \(model) here; it is \(name)", parameter: "model")
        }
    }
}
