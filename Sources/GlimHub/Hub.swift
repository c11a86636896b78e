public import Foundation

/// A server that has models in Hugging Face's layout: Hugging Face itself, or a mirror.
public struct Hub: Sendable {
    public let endpoint: URL
    let token: String?

    /// - Parameters:
    ///   - endpoint: the start of all addresses.
    ///   - token: sent to this server, never to others that it redirects to.
    /// - Throws: `HubError.badEndpoint`.
    public init(endpoint: String = "https://huggingface.co", token: String? = nil) throws(HubError) {
        let trimmed = endpoint.hasSuffix("/") ? String(endpoint.dropLast()) : endpoint
        guard let url = URL(string: trimmed), ["http", "https"].contains(url.scheme), url.host?.isEmpty == false,
            url.query == nil, url.fragment == nil
        else { throw .badEndpoint(endpoint) }
        (self.endpoint, self.token) = (url, token)
    }

    /// By `HF_ENDPOINT` and `HF_TOKEN`, as Hugging Face's own tools.
    ///
    /// - Throws: `HubError.badEndpoint`.
    public init(environment: [String: String]) throws(HubError) {
        func value(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        try self.init(endpoint: value("HF_ENDPOINT") ?? "https://huggingface.co", token: value("HF_TOKEN"))
    }

    /// An address of the server's, its parts escaped.
    func url(_ parts: [String], query: String? = nil) -> URL {
        var allowed = CharacterSet.urlPathAllowed
        allowed.remove(charactersIn: "/;?#%")
        let path = parts.map { $0.addingPercentEncoding(withAllowedCharacters: allowed) ?? "" }.joined(separator: "/")
        let text = "\(endpoint.absoluteString)/\(path)" + (query.map { "?\($0)" } ?? "")
        // Escaped so, every text is an address.
        return URL(string: text) ?? endpoint
    }

    func isOwn(_ url: URL) -> Bool {
        url.scheme == endpoint.scheme && url.host == endpoint.host && url.port == endpoint.port
    }
}

/// A model's repository on a hub, at a branch, a tag or a commit.
public struct HubRepository: Sendable, Equatable, CustomStringConvertible {
    public let owner: String
    public let name: String
    public let revision: String

    /// - Parameter text: `OWNER/NAME`.
    /// - Throws: `HubError.badName`.
    public init(_ text: String, revision: String = "main") throws(HubError) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        func isPlain(_ part: Substring) -> Bool {
            !part.isEmpty && part.first != "." && part.utf8.count <= 96
                && part.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-_.".contains($0)) }
        }
        guard parts.count == 2, parts.allSatisfy(isPlain) else { throw .badName(text) }
        (owner, name, self.revision) = (String(parts[0]), String(parts[1]), revision)
    }

    public var description: String { "\(owner)/\(name)" }
}
