import Foundation
import GlimCheckpoint
import Testing

@Suite("safetensors header") struct HeaderTests {
    @Test("a good header is read whole") func good() throws {
        let json = """
            {"__metadata__":{"format":"pt"},"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16],"extra":[{}]},\
            "b\\u0041":{"shape":[],"data_offsets":[0,4],"dtype":"F32"},\
            "none":{"dtype":"I64","shape":[0,9],"data_offsets":[4,4]}}
            """
        let bytes = safetensors(json + "   ", dataByteCount: 16)
        let header = try bytes.withUnsafeBytes { try SafetensorsHeader($0, path: "x") }
        #expect(header.names == ["bA", "none", "w"])
        #expect(header.metadata == ["format": "pt"])
        #expect(header.tensors["w"]?.shape == [2, 3])
        #expect(header.tensors["w"]?.dtype == .bf16)
        #expect(header.tensors["w"]?.byteCount == 12)
        #expect(header.tensors["none"]?.elementCount == 0)
        #expect(headerError(safetensors("{}")) == nil)
    }

    struct Bad: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let bytes: [UInt8]
        let error: CheckpointError

        init(_ name: String, _ bytes: [UInt8], _ error: CheckpointError) {
            (testDescription, self.bytes, self.error) = (name, bytes, error)
        }

        init(_ name: String, json: String, data: Int = 0, _ error: CheckpointError) {
            self.init(name, safetensors(json, dataByteCount: data), error)
        }
    }

    static func malformed(_ offset: Int, _ reason: String, tensor: String? = nil) -> CheckpointError {
        .malformedHeader(path: "x", tensor: tensor, offset: offset, reason: reason)
    }

    static let bad: [Bad] = [
        Bad("empty file", [], .tooShort(path: "x", byteCount: 0)),
        Bad("seven bytes", [0, 0, 0, 0, 0, 0, 0], .tooShort(path: "x", byteCount: 7)),
        Bad(
            "huge header", [UInt8](repeating: 0xFF, count: 16),
            .headerTooLong(path: "x", headerByteCount: .max, limit: 100_000_000)),
        Bad(
            "header beyond the end", [9, 0, 0, 0, 0, 0, 0, 0, 123],
            .headerTruncated(path: "x", headerByteCount: 9, fileByteCount: 9)),
        Bad("no header", [0, 0, 0, 0, 0, 0, 0, 0], malformed(0, "expected an object")),
        Bad("leading space", json: " {}", malformed(0, "expected an object")),
        Bad("an array", json: "[]", malformed(0, "expected an object")),
        Bad("unfinished", json: "{", malformed(1, "expected a string: the JSON ends early")),
        Bad("trailing text", json: "{} x", malformed(3, "something follows the end of the JSON")),
        Bad("trailing comma", json: #"{"__metadata__":{},}"#, malformed(19, "expected a string")),
        Bad(
            "broken UTF-8", [8, 0, 0, 0, 0, 0, 0, 0] + [0x7B, 0x22, 0xFF, 0x22, 0x3A, 0x7B, 0x7D, 0x7D],
            malformed(2, "a string is not UTF-8")),
        Bad("metadata not text", json: #"{"__metadata__":{"a":1}}"#, malformed(21, "expected a string")),
        Bad(
            "metadata twice", json: #"{"__metadata__":{},"__metadata__":{}}"#,
            malformed(34, "__metadata__ appears twice")),
        Bad(
            "no dtype", json: #"{"w":{"shape":[],"data_offsets":[0,0]}}"#,
            malformed(38, "expected dtype, shape and two data_offsets", tensor: "w")),
        Bad(
            "three offsets", json: #"{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0,0]}}"#,
            malformed(54, "expected dtype, shape and two data_offsets", tensor: "w")),
        Bad(
            "dtype twice", json: #"{"w":{"dtype":"U8","dtype":"U8"}}"#,
            malformed(27, "dtype appears twice", tensor: "w")),
        Bad(
            "negative length", json: #"{"w":{"shape":[-1]}}"#,
            malformed(15, "expected a whole number, zero or more", tensor: "w")),
        Bad(
            "fraction", json: #"{"w":{"shape":[1.5]}}"#,
            malformed(15, "expected a whole number, zero or more", tensor: "w")),
        Bad(
            "leading zero", json: #"{"w":{"shape":[01]}}"#,
            malformed(15, "expected a whole number, zero or more", tensor: "w")),
        Bad(
            "number too large", json: #"{"w":{"shape":[9223372036854775808]}}"#,
            malformed(15, "a number too large", tensor: "w")),
        Bad(
            "nesting", json: #"{"w":{"x":"# + String(repeating: "[", count: 1000) + "}}",
            malformed(73, "nested deeper than 64", tensor: "w")),
        Bad(
            "unknown dtype", json: #"{"w":{"dtype":"F7","shape":[],"data_offsets":[0,1]}}"#,
            .unknownDType(path: "x", tensor: "w", found: "F7")),
        Bad(
            "count overflow", json: #"{"w":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,1]}}"#,
            .impossibleShape(path: "x", tensor: "w", shape: [4_294_967_296, 4_294_967_296])),
        Bad(
            "byte overflow", json: #"{"w":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,1]}}"#,
            .impossibleShape(path: "x", tensor: "w", shape: [4_611_686_018_427_387_904])),
        Bad(
            "half a byte", json: #"{"w":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}"#, data: 1,
            .impossibleShape(path: "x", tensor: "w", shape: [3])),
        Bad(
            "backwards", json: #"{"w":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}"#, data: 1,
            .offsetsOutOfRange(path: "x", tensor: "w", begin: 1, end: 0, dataByteCount: 1)),
        Bad(
            "cut short", json: #"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, data: 15,
            .offsetsOutOfRange(path: "x", tensor: "w", begin: 0, end: 16, dataByteCount: 15)),
        Bad(
            "wrong size", json: #"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,15]}}"#, data: 15,
            .wrongByteCount(path: "x", tensor: "w", found: 15, expected: 16)),
        Bad(
            "name twice",
            json: #"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{}}"#, data: 1,
            .duplicateTensor(path: "x", tensor: "w")),
        Bad(
            "overlap",
            json: #"{"v":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"#
                + #""w":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#, data: 3,
            .overlap(path: "x", tensor: "w", other: "v")),
        Bad(
            "the same place",
            json: #"{"v":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"#
                + #""w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#, data: 2,
            .overlap(path: "x", tensor: "w", other: "v")),
        Bad(
            "hole before", json: #"{"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#, data: 2,
            .hole(path: "x", begin: 0, end: 1)),
        Bad(
            "hole after", json: #"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, data: 3,
            .hole(path: "x", begin: 1, end: 3)),
    ]

    @Test("each fault has its error", arguments: bad) func malformed(_ bad: Bad) {
        #expect(headerError(bad.bytes) == bad.error)
    }

    @Test("every error is one line that says what to do", arguments: bad) func oneLine(_ bad: Bad) {
        let text = bad.error.description
        #expect(!text.contains("\n") && text.hasPrefix("x ") || text.hasPrefix("x:"))
        #expect(text.contains(";") || text.contains(","))
    }

    @Test("a name full of control characters stays on one line") func controlCharacters() {
        let error = CheckpointError.missingTensor(folder: "f", tensor: "a\nb" + String(repeating: "x", count: 5000))
        #expect(!error.description.contains("\n") && error.description.count < 500)
    }

    @Test("no part of a file passes for the whole, and no flipped bit traps") func everyCutAndBit() throws {
        let good = try [UInt8](Data(contentsOf: golden("fp8/model-00002-of-00002.safetensors")))
        #expect(headerError(good) == nil)
        for count in good.indices { #expect(headerError(Array(good[..<count])) != nil) }
        let headerEnd = 8 + Int(good[0])
        for bit in 0..<8 * good.count {
            var bytes = good
            bytes[bit / 8] ^= 1 << UInt8(bit % 8)
            let error = headerError(bytes)
            if bit / 8 < 8 || bit / 8 >= headerEnd { #expect((error == nil) == (bit / 8 >= headerEnd)) }
        }
    }
}
