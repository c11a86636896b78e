public import Foundation

/// A server that has models in Hugging Face's layout: Hugging Face itself, or a mirror.
public struct Hub: Sendable {
    public let endpoint: URL
    let token: String?
    package let proxy: URL?

    /// - Parameters:
    ///   - endpoint: the start of all addresses.
    ///   - token: sent to this server, never to others that it redirects to.
    ///   - proxy: goes between, such as `http://proxy.example:3128`.
    /// - Throws: `HubError.badEndpoint`.
    public init(
        endpoint: String = "https://huggingface.co", token: String? = nil, proxy: URL? = nil
    ) throws(HubError) {
        let trimmed = endpoint.hasSuffix("/") ? String(endpoint.dropLast()) : endpoint
        guard let url = URL(string: trimmed), ["http", "https"].contains(url.scheme), url.host?.isEmpty == false,
            url.query == nil, url.fragment == nil
        else { throw .badEndpoint(endpoint) }
        (self.endpoint, self.token, self.proxy) = (url, token, proxy)
    }

    /// By `HF_ENDPOINT` and `HF_TOKEN`, as Hugging Face's own tools, and `https_proxy`, `http_proxy` and `no_proxy`, as
    /// most programs.
    ///
    /// - Throws: `HubError.badEndpoint`, `.badProxy`.
    public init(environment: [String: String]) throws(HubError) {
        func value(_ name: String) -> String? {
            // A token out of a file has a newline behind it.
            let text = environment[name]?.trimmingCharacters(in: .whitespacesAndNewlines)
            return text?.isEmpty == false ? text : nil
        }
        let direct = try Hub(endpoint: value("HF_ENDPOINT") ?? "https://huggingface.co", token: value("HF_TOKEN"))
        let proxy = try Self.proxy(to: direct.endpoint) { value($0) ?? value($0.uppercased()) }
        try self.init(endpoint: direct.endpoint.absoluteString, token: direct.token, proxy: proxy)
    }

    private static func proxy(to endpoint: URL, _ value: (String) -> String?) throws(HubError) -> URL? {
        let host = endpoint.host ?? ""
        let direct = (value("no_proxy") ?? "").split { $0 == "," || $0 == " " }.map { $0.drop { $0 == "." } }
        if direct.contains(where: { $0 == "*" || host == $0 || host.hasSuffix(".\($0)") }) { return nil }
        guard let text = value("\(endpoint.scheme ?? "https")_proxy") ?? value("all_proxy") else { return nil }
        guard let url = URL(string: text.contains("://") ? text : "http://\(text)"), url.scheme == "http",
            url.host?.isEmpty == false
        else { throw .badProxy(text) }
        return url
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
