import GlimCheckpoint

/// Why a model cannot be pulled, in one line: what, where, and what to do.
public enum HubError: Error, Equatable, CustomStringConvertible {
    /// What was given is no OWNER/NAME.
    case badName(String)
    /// HF_ENDPOINT is no address of a server.
    case badEndpoint(String)
    /// What the environment names as a proxy is no address of one.
    case badProxy(String)
    /// The hub has no such repository, revision or file.
    case notFound(String, endpoint: String)
    /// The hub wants a token, or another one.
    case forbidden(String, hasToken: Bool)
    /// An answer that no further attempt will change.
    case refused(url: String, status: Int)
    /// As often as it was tried.
    case unreachable(url: String, attempts: Int, reason: String)
    /// What came is no list of files.
    case malformedListing(url: String, reason: String)
    /// A listed path leads out of the folder, or to a hidden file.
    case unsafePath(String)
    /// None of the repository's files is a model's, or not those that were asked for.
    case nothingToPull(String, reason: String)
    /// Twice the bytes that came were not those that the repository lists.
    case wrongContent(path: String, expected: String, found: String)
    /// The disk is full, or takes no files there.
    case cannotWrite(path: String, reason: String)
    /// Another process has the folder locked.
    case busy(folder: String)

    public var description: String { sentence.onOneLine }

    private var sentence: String {
        switch self {
        case .badName(let name): "\"\(name)\" names no repository; give OWNER/NAME, such as zai-org/GLM-5"
        case .badEndpoint(let url):
            "\"\(url)\" is no address of a hub; set HF_ENDPOINT to one that begins with https:// or http://"
        case .badProxy(let text):
            "\"\(text)\" is no address of a proxy; set https_proxy to one such as http://proxy.example:3128"
        case .notFound(let what, let endpoint):
            "\(endpoint) has no \(what); check the spelling, or set HF_TOKEN if it is private"
        case .forbidden(let what, let hasToken):
            "\(what) is not for everyone: "
                + (hasToken
                    ? "HF_TOKEN gives no access; accept the model's terms on its page, or use another token"
                    : "accept the model's terms on its page, and set HF_TOKEN")
        case .refused(let url, let status): "\(url) answers with status \(status); try another mirror with HF_ENDPOINT"
        case .unreachable(let url, let attempts, let reason):
            "\(url) failed \(attempts) times in a row, at last with: \(reason); the same command goes on where it stopped"
        case .malformedListing(let url, let reason):
            "\(url) answers with no list of files: \(reason); check HF_ENDPOINT"
        case .unsafePath(let path):
            "the repository lists the file \"\(path)\", which would leave the folder; do not trust it"
        case .nothingToPull(let name, let reason): "\(name): \(reason)"
        case .wrongContent(let path, let expected, let found):
            "\(path) came twice with other bytes than the repository lists (\(found), expected \(expected)); try another "
                + "mirror with HF_ENDPOINT"
        case .cannotWrite(let path, let reason):
            "\(path) cannot be written: \(reason); check free space and permissions, the same command goes on"
        case .busy(let folder): "another glim pull writes into \(folder); wait for it, or give another --out"
        }
    }
}
