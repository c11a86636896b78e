/// Why a JSON schema cannot constrain what a model writes: where in it, at which keyword, and what to do.
public struct SchemaError: Error, Equatable, CustomStringConvertible {
    /// The place in the schema, as a JSON pointer in a fragment: `#/properties/age`.
    public let pointer: String
    /// The keyword there that is wrong or cannot be used; nil where the schema as a whole is.
    public let keyword: String?
    public let why: String

    init(_ pointer: String, keyword: String? = nil, _ why: String) {
        (self.pointer, self.keyword, self.why) = (pointer, keyword, why)
    }

    public var description: String {
        "the schema at \(pointer)\(keyword.map { " has \"\($0)\", which" } ?? "") cannot be used: \(why)".onOneLine
    }
}
