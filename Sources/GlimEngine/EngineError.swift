/// Why the engine cannot do what it was asked for, in one line.
public enum EngineError: Error, Equatable, CustomStringConvertible {
    case emptyPrompt
    case unknownToken(Int32, vocabulary: Int)
    /// A prompt of so many tokens, in a model that reads fewer.
    case tooLong(count: Int, context: Int)
    /// All of the cache does not hold the request.
    case tooLarge(positions: Int, available: Int)
    /// So many requests are open already.
    case tooMany(Int)
    /// A request's sampler has a value that nothing can be drawn by.
    case badSampler(String)
    /// An option of an engine that is less than it can be.
    case badOption(String, Int, least: Int)
    /// Drafts were asked for, and the model has nothing to make them with.
    case noDrafts
    /// Other weights are not of the same network.
    case otherShape
    /// The folder of a store of prefixes cannot be used.
    case store(path: String, reason: String)
    /// The model reads experts from its files, and cannot any more.
    case experts(String)
    /// The request's rule allows no token of the model's vocabulary in this place of the sequence.
    case nothingAllowed(position: Int)
    /// The engine was stopped.
    case stopped

    public var description: String {
        switch self {
        case .emptyPrompt: "the prompt has no token; give at least one"
        case .unknownToken(let id, let vocabulary): "token \(id) is not within the model's 0..<\(vocabulary)"
        case .tooLong(let count, let context):
            "the prompt has \(count) tokens, but the model's context is \(context); shorten it"
        case .tooLarge(let positions, let available):
            "the request needs \(positions) positions, but the cache holds \(available); ask for fewer tokens or give it more memory"
        case .badSampler(let problem): "the request's \(problem)"
        case .tooMany(let count): "\(count) requests are open already; try again later"
        case .badOption(let name, let value, let least): "\(name) is \(value); give at least \(least)"
        case .noDrafts: "drafts were asked for, but the model has no MTP layer to draft with"
        case .otherShape: "the new weights are of another network; the engine goes on with the old ones"
        case .store(let path, let reason): "\(path) cannot keep prefixes: \(reason); give another folder"
        case .experts(let reason): reason
        case .nothingAllowed(let position):
            "no token may come at position \(position): the model's vocabulary cannot write what the request's rule asks for; ask for another form"
        case .stopped: "the engine was stopped"
        }
    }
}
