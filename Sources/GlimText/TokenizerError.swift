/// Why a tokenizer cannot be read, made or used. Each case says what was found, and where.
public enum TokenizerError: Error, Equatable, CustomStringConvertible {
    /// The file cannot be read or written.
    case unreadable(path: String, why: String)
    /// The file is not JSON, or not of the form of a `tokenizer.json`.
    case malformed(path: String, why: String)
    /// The file asks for something that this tokenizer does not do.
    case unsupported(path: String, what: String)
    /// A token id outside the vocabulary.
    case unknownID(Int, vocabularySize: Int)
    /// A vocabulary that cannot be trained: too small for what it must hold, or too large.
    case vocabularySize(Int, allowed: ClosedRange<Int>)
    /// Conversations cannot be written with this tokenizer, or not for this model.
    case cannotChat(why: String)

    public var description: String { sentence.onOneLine }

    private var sentence: String {
        switch self {
        case .unreadable(let path, let why): "\(path): \(why)"
        case .malformed(let path, let why): "\(path) is not a usable tokenizer.json: \(why)"
        case .unsupported(let path, let what): "\(path) needs something Glim does not have: \(what)"
        case .unknownID(let id, let size): "token id \(id) is not within 0...\(size - 1), the ids of this tokenizer"
        case .vocabularySize(let size, let allowed):
            "a vocabulary of \(size) tokens is not within \(allowed.lowerBound)...\(allowed.upperBound)"
        case .cannotChat(let why): "this tokenizer.json cannot be used to chat: \(why)"
        }
    }
}

extension String {
    /// The same text as one line that a terminal shows as it stands, and not longer than a line can bear: what is quoted
    /// from a damaged file may hold line breaks, escape sequences and megabytes.
    var onOneLine: String {
        let shown = unicodeScalars.prefix(2000).map { scalar in
            switch scalar.properties.generalCategory {
            case .lineSeparator, .paragraphSeparator: " "
            case .control, .format: scalar == "\n" || scalar == "\t" ? " " : "?"
            default: String(scalar)
            }
        }
        return shown.joined() + (unicodeScalars.count > 2000 ? "…" : "")
    }
}
