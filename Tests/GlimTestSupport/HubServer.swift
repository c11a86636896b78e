import Crypto
public import Foundation
import Synchronization

/// A hub on this machine with one repository, and a second server that large files are fetched from; with faults on
/// demand. Over plain sockets, so that it can break what a proper server cannot.
public final class HubServer: Sendable {
    public static let repository = "acme/tiny"
    public static let commit = "0123456789abcdef0123456789abcdef01234567"

    /// What may happen to an answer with a file's bytes.
    public enum Fault: Sendable, CaseIterable {
        case none
        /// The connection ends within the bytes.
        case cut
        /// The connection ends before anything is said.
        case hangUp
        /// Status 503.
        case busy
        /// The whole file, whatever part was asked for.
        case whole
        /// One byte is another.
        case changed
        /// A part comes, then nothing more.
        case stall
    }

    public struct Counts: Sendable {
        public var requests = 0
        public var fileBytes = 0
        /// Requests to the second server that came with a token.
        public var leakedTokens = 0
        public var fileRequests = 0
    }

    private struct State {
        var counts = Counts()
        var fault: @Sendable (_ path: String, _ number: Int) -> Fault = { _, _ in .none }
        var token: String?
        var bytesPerSecond: Int?
        var listing: String?
        var files: [String: Data]
    }

    private let state: Mutex<State>
    private let front: SocketListener
    private let back: SocketListener

    /// The address to give as HF_ENDPOINT.
    public var endpoint: String { "http://127.0.0.1:\(front.port)" }
    public var counts: Counts { state.withLock { $0.counts } }

    /// - Parameter files: by path. Those whose name ends in .safetensors are large ones.
    public init(_ files: [String: Data]) throws {
        state = Mutex(State(files: files))
        (front, back) = (try SocketListener(), try SocketListener())
        front.start { [weak self] in self?.answerFront($0) }
        back.start { [weak self] in self?.answerBack($0) }
    }

    deinit {
        front.stop()
        back.stop()
    }

    /// Which fault the n-th answer with bytes of a file has.
    public func setFault(_ fault: @escaping @Sendable (_ path: String, _ number: Int) -> Fault) {
        state.withLock { $0.fault = fault }
    }
    public func setToken(_ token: String?) { state.withLock { $0.token = token } }
    public func setRate(bytesPerSecond: Int?) { state.withLock { $0.bytesPerSecond = bytesPerSecond } }
    /// Answers this instead of the list of files.
    public func setListing(_ text: String?) { state.withLock { $0.listing = text } }
    public func setFile(_ path: String, _ data: Data) { state.withLock { $0.files[path] = data } }

    // MARK: The hub

    private func answerFront(_ peer: SocketPeer) {
        guard let request = HTTPRequest(peer) else { return }
        let (token, override) = state.withLock { state in
            state.counts.requests += 1
            return (state.token, state.listing)
        }
        if let token, request.headers["authorization"] != "Bearer \(token)" {
            return peer.send(status: "401 Unauthorized", [:], Data())
        }
        let api = "/api/models/\(Self.repository)"
        let files = "/\(Self.repository)/resolve/\(Self.commit)/"
        switch request.path {
        case "\(api)/revision/main": peer.send(status: "200 OK", [:], Data("{\"sha\": \"\(Self.commit)\"}".utf8))
        case "\(api)/tree/\(Self.commit)":
            if let override { return peer.send(status: "200 OK", [:], Data(override.utf8)) }
            sendPage(peer, request)
        case let path where path.hasPrefix(files):
            let name = String(path.dropFirst(files.count)).removingPercentEncoding ?? ""
            if name.hasSuffix(".safetensors") {
                let place = "http://127.0.0.1:\(back.port)/blobs/\(name)?signature=1"
                return peer.send(status: "302 Found", ["Location": place], Data())
            }
            sendFile(name, peer, request)
        default: peer.send(status: "404 Not Found", [:], Data())
        }
    }

    /// Three files a page, as a large repository has a thousand.
    private func sendPage(_ peer: SocketPeer, _ request: HTTPRequest) {
        let files = state.withLock { $0.files }.sorted { $0.key < $1.key }
        let first = Int(request.query["cursor"] ?? "0") ?? 0
        var entries = files.dropFirst(first).prefix(3).map { path, data in
            let blob = Insecure.SHA1.hash(data: Data("blob \(data.count)\0".utf8) + data)
            let large =
                path.hasSuffix(".safetensors")
                ? ", \"lfs\": {\"oid\": \"\(Self.hexadecimal(SHA256.hash(data: data)))\", \"size\": \(data.count)}" : ""
            return "{\"type\": \"file\", \"path\": \"\(path)\", \"oid\": \"\(Self.hexadecimal(blob))\", "
                + "\"size\": \(data.count)\(large)}"
        }
        if first == 0 { entries.append("{\"type\": \"directory\", \"path\": \"other\", \"oid\": \"0\", \"size\": 0}") }
        var headers: [String: String] = [:]
        if first + 3 < files.count {
            let api = "\(endpoint)/api/models/\(Self.repository)/tree/\(Self.commit)"
            headers["Link"] = "<\(api)?recursive=true&cursor=\(first + 3)>; rel=\"next\""
        }
        peer.send(status: "200 OK", headers, Data("[\(entries.joined(separator: ", "))]".utf8))
    }

    private static func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    // MARK: Bytes

    private func answerBack(_ peer: SocketPeer) {
        guard let request = HTTPRequest(peer) else { return }
        state.withLock { state in
            state.counts.requests += 1
            if request.headers["authorization"] != nil { state.counts.leakedTokens += 1 }
        }
        let name = String(request.path.dropFirst("/blobs/".count)).removingPercentEncoding ?? ""
        sendFile(name, peer, request)
    }

    private func sendFile(_ name: String, _ peer: SocketPeer, _ request: HTTPRequest) {
        // "bytes=FIRST-": from there to the end.
        let first = request.headers["range"].map { $0.split { "=-".contains($0) } }.flatMap { words in
            words.count == 2 ? Int(words[1]) : nil
        }
        let (data, fault, rate) = state.withLock { state in
            state.counts.fileRequests += 1
            return (state.files[name], state.fault(name, state.counts.fileRequests), state.bytesPerSecond)
        }
        guard let data else { return peer.send(status: "404 Not Found", [:], Data()) }
        if fault == .hangUp { return }
        if fault == .busy { return peer.send(status: "503 Service Unavailable", ["Retry-After": "0"], Data()) }
        let isPart = first != nil && fault != .whole
        let part = isPart ? min(first ?? 0, data.count)..<data.count : 0..<data.count
        var body = Data(data[part])
        if fault == .changed, !body.isEmpty { body[body.count / 2] ^= 1 }
        var headers: [String: String] = [:]
        if isPart { headers["Content-Range"] = "bytes \(part.lowerBound)-\(part.upperBound - 1)/\(data.count)" }
        let sent = fault == .cut || fault == .stall ? body.prefix(body.count / 2) : body
        peer.sendHead(isPart ? "206 Partial Content" : "200 OK", headers, contentLength: body.count)
        // By pieces, each known to be on its way before the next.
        for start in stride(from: 0, to: sent.count, by: 1 << 14) {
            let piece = sent[start..<min(sent.count, start + 1 << 14)]
            // Counted before: the client may be done with it before this goes on.
            state.withLock { $0.counts.fileBytes += piece.count }
            guard peer.write(piece) else { break }
            if let rate { usleep(UInt32(min(1_000_000, piece.count * 1_000_000 / rate))) }
        }
        if fault == .stall { usleep(3_000_000) }
    }
}

/// The head of a request: path, query and headers in small letters.
private struct HTTPRequest {
    var path = ""
    var query: [String: String] = [:]
    var headers: [String: String] = [:]

    /// Nil where the peer says nothing that is one.
    init?(_ peer: SocketPeer) {
        guard let text = peer.readHead() else { return nil }
        let lines = text.components(separatedBy: "\r\n")
        let words = lines[0].split(separator: " ")
        guard words.count == 3, words[0] == "GET" else { return nil }
        let parts = words[1].split(separator: "?", maxSplits: 1)
        path = String(parts.first ?? "")
        for pair in parts.dropFirst().first?.split(separator: "&") ?? [] {
            let sides = pair.split(separator: "=", maxSplits: 1).map(String.init)
            query[sides[0]] = sides.count > 1 ? sides[1] : ""
        }
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { continue }
            headers[line[..<colon].lowercased()] =
                line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
        }
    }
}
