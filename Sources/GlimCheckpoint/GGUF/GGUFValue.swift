/// One value of a GGUF file's metadata. Widths of numbers are the file's business.
public enum GGUFValue: Sendable, Equatable, CustomStringConvertible {
    case integer(Int)
    case real(Double)
    case bool(Bool)
    case string(String)
    case integers([Int])
    case reals([Double])
    case bools([Bool])
    case strings([String])

    /// What to tell a person who finds this where something else should be.
    public var description: String {
        switch self {
        case .integer(let number): "\(number)"
        case .real(let number): "\(number)"
        case .bool(let flag): "\(flag)"
        case .string(let text): "the string \"\(text.prefix(80))\""
        case .integers(let list): "a list of \(list.count) whole numbers"
        case .reals(let list): "a list of \(list.count) numbers"
        case .bools(let list): "a list of \(list.count) switches"
        case .strings(let list): "a list of \(list.count) strings"
        }
    }

    /// The whole number; nil for anything else.
    public var integer: Int? { if case .integer(let value) = self { value } else { nil } }
    /// The string; nil for anything else.
    public var string: String? { if case .string(let value) = self { value } else { nil } }
    /// The list of strings; nil for anything else.
    public var strings: [String]? { if case .strings(let value) = self { value } else { nil } }
    /// The list of whole numbers; nil for anything else.
    public var integers: [Int]? { if case .integers(let value) = self { value } else { nil } }
}
