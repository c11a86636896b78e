import GlimCheckpoint

/// Why text cannot be used for training. Every case carries what a person needs to mend it.
public enum DataError: Error, Equatable, Sendable, CustomStringConvertible {
    /// A path that was named does not exist.
    case noSuchPath(String)
    /// A path that was named exists but cannot be read.
    case unreadable(String, why: String)
    /// A line of a JSONL file is not an object with a text.
    case malformedLine(file: String, line: Int, why: String)
    /// A line of fine-tuning data is no conversation; the place is `file:line`.
    case malformedConversation(String, why: String)
    /// With this file there is more text than memory can hold.
    case tooLarge(String, limit: Int)
    /// The paths exist and hold no text.
    case nothingUsable(paths: [String], totals: Corpus.Totals)
    /// There is text, but not enough of it for what it is needed for.
    case tooLittle(paths: [String], why: String)
    /// A value given by the caller is out of its range, e.g. a sequence length of 0.
    case outOfRange(String, found: Int, allowed: ClosedRange<Int>)
    /// A saved position of the loader does not exist in this data.
    case badPosition(String, why: String)

    public var description: String { sentence.onOneLine }

    private var sentence: String {
        switch self {
        case .noSuchPath(let path):
            "data path \(path) does not exist; give an existing file or folder"
        case .unreadable(let path, let why):
            "data path \(path) cannot be read: \(why); give a readable file or folder"
        case .tooLarge(let path, let limit):
            "data path \(path) makes more than \(limit >> 20) MiB of text, half of this machine's memory; give less"
        case .malformedLine(let file, let line, let why):
            "\(file):\(line) is not a JSONL document: \(why); each line must be an object with a string \"text\""
        case .malformedConversation(let place, let why):
            "\(place) is not a conversation: \(why); mend the line or leave it out"
        case .nothingUsable(let paths, let totals):
            "no usable text in \(paths.isEmpty ? "no paths at all" : paths.joined(separator: ", ")): "
                + "empty or binary-only data (\(totals)); give files or folders with text"
        case .tooLittle(let paths, let why):
            "too little text in \(paths.isEmpty ? "this machine's own software" : paths.joined(separator: ", ")): "
                + "\(why); give more"
        case .outOfRange(let name, let found, let allowed):
            "\(name) is \(found), not within \(allowed.lowerBound)...\(allowed.upperBound)"
        case .badPosition(let position, let why):
            "the data position (\(position)) does not fit this data: \(why); "
                + "resume with the data that the run began with"
        }
    }
}
