/// What a server says instead of a response, in either API.
public struct ServiceError: Error, Equatable, CustomStringConvertible {
    /// By Anthropic's names, which OpenAI's clients take too: they look at the status.
    public enum Kind: String, Sendable, CaseIterable {
        case invalidRequest = "invalid_request_error"
        case authentication = "authentication_error"
        case permission = "permission_error"
        case notFound = "not_found_error"
        case tooLarge = "request_too_large"
        case rateLimit = "rate_limit_error"
        case failure = "api_error"
        case overloaded = "overloaded_error"
        case timeout = "timeout_error"

        /// Of HTTP.
        public var status: Int {
            switch self {
            case .invalidRequest: 400
            case .authentication: 401
            case .permission: 403
            case .notFound: 404
            case .tooLarge: 413
            case .rateLimit: 429
            case .failure: 500
            case .overloaded: 503
            case .timeout: 504
            }
        }

        init(status: Int) {
            let known = Self.allCases.first { $0.status == status }
            self = known ?? (status == 529 ? .overloaded : (400..<500).contains(status) ? .invalidRequest : .failure)
        }
    }

    public var kind: Kind
    public var message: String
    /// The place in the request that is wrong, such as `messages[0].content`.
    public var parameter: String?

    public init(_ kind: Kind, _ message: String, parameter: String? = nil) {
        (self.kind, self.message, self.parameter) = (kind, message, parameter)
    }

    public init(_ error: ProtocolError) {
        self.init(.invalidRequest, error.description, parameter: error.place)
    }

    public var description: String { message.onOneLine }

    // MARK: Both APIs

    public var openAI: JSON {
        let error = JSON.object(of: [
            "message": .string(message), "type": .string(kind.rawValue),
            "param": parameter.map(JSON.string) ?? .null, "code": .null,
        ])
        return .object(of: ["error": error])
    }

    public var anthropic: JSON {
        let error = JSON.object(of: ["type": .string(kind.rawValue), "message": .string(message)])
        return .object(of: ["type": .string("error"), "error": error])
    }

    /// Reads the body of an error of either API, however little there is of it.
    ///
    /// - Parameter status: of HTTP; nil within a stream, which has begun well.
    public init(body: JSON, status: Int? = nil) {
        let error = body["error"] ?? body
        let named = error["type"]?.string.flatMap(Kind.init(rawValue:))
        self.init(
            named ?? status.map(Kind.init(status:)) ?? .failure,
            error["message"]?.string ?? error.string ?? "an error without a message",
            parameter: error["param"]?.string)
    }
}

/// Why there is no response of an endpoint.
public enum EndpointError: Error, Equatable, CustomStringConvertible {
    /// It says so itself.
    case reported(ServiceError)
    /// It sent something else.
    case malformed(ProtocolError)
    /// Its stream ended before the reply did.
    case cut

    public var description: String {
        switch self {
        case .reported(let error): "the endpoint refuses: \(error)"
        case .malformed(let error): "the endpoint's response is not of its API: \(error)"
        case .cut: "the endpoint's stream ended before the reply did"
        }
    }
}
