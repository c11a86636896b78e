/// Walks over the head of a GGUF file; every step is checked against the file's end.
struct GGUFCursor {
    private let bytes: UnsafeRawBufferPointer
    private let path: String
    private(set) var offset = 0

    init(_ bytes: UnsafeRawBufferPointer, path: String) { (self.bytes, self.path) = (bytes, path) }

    func malformed(_ reason: String) -> CheckpointError { .malformedGGUF(path: path, reason: reason) }

    private var cutShort: CheckpointError {
        malformed("it ends within its head, after \(bytes.count) bytes: it was cut short")
    }

    /// The next number, little-endian.
    mutating func number<T: FixedWidthInteger>(_ type: T.Type = T.self) throws(CheckpointError) -> T {
        let size = MemoryLayout<T>.size
        guard bytes.count - offset >= size else { throw cutShort }
        defer { offset += size }
        return T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
    }

    /// A number of eight bytes that counts something, each of which takes `byteCount` bytes of the file or more.
    mutating func count(of byteCount: Int, _ what: String) throws(CheckpointError) -> Int {
        let claimed = try number(UInt64.self)
        guard let count = Int(exactly: claimed), count <= (bytes.count - offset) / byteCount else {
            throw malformed("it claims \(claimed) \(what) and has \(bytes.count) bytes: it is damaged or was cut short")
        }
        return count
    }

    /// A string; what is not UTF-8 becomes U+FFFD.
    mutating func string() throws(CheckpointError) -> String {
        let count = try count(of: 1, "bytes in a string")
        defer { offset += count }
        return String(decoding: bytes[offset..<offset + count], as: UTF8.self)
    }

    // MARK: Values

    /// A value of a key, its type before it.
    mutating func value(of key: String) throws(CheckpointError) -> GGUFValue {
        let type = try number(UInt32.self)
        guard type == 9 else { return try scalar(type, key) }
        let element = try number(UInt32.self)
        // Elements of fewer bytes than these there are none.
        let count = try count(of: element == 8 ? 8 : max(1, Self.width(element)), "elements of \"\(key.prefix(80))\"")
        switch element {
        case 0...5, 10, 11:
            var list: [Int] = []
            for _ in 0..<count { list.append(try integer(element, key)) }
            return .integers(list)
        case 6, 12:
            var list: [Double] = []
            for _ in 0..<count { list.append(try real(element)) }
            return .reals(list)
        case 7:
            var list: [Bool] = []
            for _ in 0..<count { list.append(try number(UInt8.self) != 0) }
            return .bools(list)
        case 8:
            var list: [String] = []
            for _ in 0..<count { list.append(try string()) }
            return .strings(list)
        default: throw malformed("\"\(key.prefix(80))\" is a list of type \(element), which the format does not have")
        }
    }

    private mutating func scalar(_ type: UInt32, _ key: String) throws(CheckpointError) -> GGUFValue {
        switch type {
        case 0...5, 10, 11: .integer(try integer(type, key))
        case 6, 12: .real(try real(type))
        case 7: .bool(try number(UInt8.self) != 0)
        case 8: .string(try string())
        default: throw malformed("\"\(key.prefix(80))\" is of type \(type), which the format does not have")
        }
    }

    private static func width(_ type: UInt32) -> Int {
        switch type {
        case 2, 3: 2
        case 4, 5, 6: 4
        case 10, 11, 12: 8
        default: 1
        }
    }

    private mutating func integer(_ type: UInt32, _ key: String) throws(CheckpointError) -> Int {
        switch type {
        case 0: return Int(try number(UInt8.self))
        case 1: return Int(try number(Int8.self))
        case 2: return Int(try number(UInt16.self))
        case 3: return Int(try number(Int16.self))
        case 4: return Int(try number(UInt32.self))
        case 5: return Int(try number(Int32.self))
        case 11: return Int(try number(Int64.self))
        default:
            let wide = try number(UInt64.self)
            guard let narrow = Int(exactly: wide) else {
                throw malformed("\"\(key.prefix(80))\" is \(wide), too large")
            }
            return narrow
        }
    }

    private mutating func real(_ type: UInt32) throws(CheckpointError) -> Double {
        type == 6 ? Double(Float(bitPattern: try number())) : Double(bitPattern: try number())
    }
}
