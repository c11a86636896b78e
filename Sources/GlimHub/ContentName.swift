/// What a hub names the content of a file by: SHA-256 of what it keeps in large storage, git's name of all else.
enum ContentName: Sendable, Hashable {
    case sha256(String)
    /// SHA-1 of `blob SIZE`, a zero byte, and the content.
    case gitBlob(String)

    var text: String {
        switch self {
        case .sha256(let text), .gitBlob(let text): text
        }
    }
}
