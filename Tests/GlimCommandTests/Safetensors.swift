import Foundation
import GlimTestSupport
import Testing

/// A safetensors file, read apart from the code that is tested.
struct Safetensors {
    struct Entry {
        var type: String
        var shape: [Int]
        var bytes: Data

        var floats: [Float] {
            bytes.withUnsafeBytes { raw in
                (0..<raw.count / 4).map { raw.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
            }
        }
    }

    private(set) var entries: [String: Entry] = [:]

    init(_ file: URL) throws {
        let data = try Data(contentsOf: file)
        let count = data.withUnsafeBytes { Int($0.loadUnaligned(as: UInt64.self).littleEndian) }
        let header = try #require(
            try JSONSerialization.jsonObject(with: data[8..<8 + count]) as? [String: [String: Any]])
        for (name, entry) in header where name != "__metadata__" {
            let offsets = try #require(entry["data_offsets"] as? [Int])
            entries[name] = Entry(
                type: try #require(entry["dtype"] as? String), shape: try #require(entry["shape"] as? [Int]),
                bytes: data[8 + count + offsets[0]..<8 + count + offsets[1]])
        }
    }

    subscript(name: String) -> Entry? {
        get { entries[name] }
        set { entries[name] = newValue }
    }

    var data: Data {
        get throws {
            var (header, body): ([String: Any], Data) = ([:], Data())
            for (name, entry) in entries.sorted(by: { $0.key < $1.key }) {
                header[name] = [
                    "dtype": entry.type, "shape": entry.shape,
                    "data_offsets": [body.count, body.count + entry.bytes.count],
                ]
                body += entry.bytes
            }
            let json = try JSONSerialization.data(withJSONObject: header)
            return withUnsafeBytes(of: UInt64(json.count).littleEndian) { Data($0) } + json + body
        }
    }
}
