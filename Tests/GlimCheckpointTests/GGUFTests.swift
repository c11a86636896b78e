import Foundation
import GlimCheckpoint
import GlimTensor
import GlimTestSupport
import Testing

@Suite("GGUF files") struct GGUFTests {
    /// Some of everything: each kind of value, each format that is written.
    private static let metadata: [(key: String, value: GGUFValue)] = [
        ("general.architecture", .string("glm-dsa")), ("a", .integer(7)), ("b", .integer(-3)),
        ("c", .integer(1 << 40)), ("d", .real(0.5)), ("e", .bool(true)), ("f", .integers([1, -1, 70_000])),
        ("g", .reals([1, -0.25])), ("h", .bools([true, false])), ("i", .strings(["", "Ġa", "é\n"])),
    ]
    private static let tensors = [
        GGUFDeclaration("plain", .f32, [5]), GGUFDeclaration("stack", .f16, [2, 3, 5]),
        GGUFDeclaration("wide", .bf16, [3, 7]), GGUFDeclaration("eight", .q8_0, [2, 64]),
        GGUFDeclaration("four", .q4_0, [3, 32]),
    ]

    private static func numbers(_ tensor: GGUFDeclaration) -> [Float] {
        (0..<tensor.shape.reduce(1, *)).map { Float(($0 * 37) % 101 - 50) / 16 }
    }

    private static func write(_ file: URL) throws {
        try GGUFWriter.write(metadata, tensors, to: file) { tensor, sink in
            // A row at a time.
            let (all, width) = (numbers(tensor), tensor.shape.last ?? 1)
            for start in stride(from: 0, to: all.count, by: width) {
                try all[start..<start + width].withUnsafeBufferPointer { try sink.append($0) }
            }
        }
    }

    @Test("what is written is read back, and lies aligned") func roundTrip() throws {
        try withTemporaryFolder { folder in
            let path = folder.appending(path: "some.gguf")
            try Self.write(path)
            let file = try GGUFFile(path)
            #expect(file.metadata.count == Self.metadata.count)
            for (key, value) in Self.metadata { #expect(file.metadata[key] == value, "\(key)") }
            #expect(file.names == Self.tensors.map(\.name).sorted())
            for tensor in Self.tensors {
                #expect(file.shape(of: tensor.name) == tensor.shape && file.type(of: tensor.name) == tensor.type)
                #expect(file.bytes(of: tensor.name)?.count == tensor.byteCount)
            }
            let pieces = Dictionary(
                uniqueKeysWithValues: Self.tensors.compactMap { t in GGUFPiece(file, t.name).map { (t.name, $0) } })
            let checkpoint = Checkpoint(gguf: file, pieces: pieces)
            for tensor in Self.tensors {
                let (found, exact) = (try checkpoint.floats(tensor.name), Self.numbers(tensor))
                // Of the formats' own precision: a step of the largest, which is 3.125.
                let step: Float =
                    switch tensor.type {
                    case .q8_0: 3.2 / 127
                    case .q4_0: 3.2 / 8
                    default: 0
                    }
                #expect(zip(found, exact).allSatisfy { abs($0 - $1) <= step }, "\(tensor.name)")
                let last = tensor.shape[0] - 1
                let row = try checkpoint.floats(tensor.name, rows: last..<tensor.shape[0])
                #expect(row == Array(found.suffix(row.count)))
            }
            #expect(throws: CheckpointError.self) { try checkpoint.floats("plain", rows: 4..<6) }
            #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["some.gguf"])
        }
    }

    @Test("integers and their scales are the numbers") func integers() throws {
        try withTemporaryFolder { folder in
            let path = folder.appending(path: "some.gguf")
            try Self.write(path)
            let file = try GGUFFile(path)
            for (name, bits) in [("eight", 8), ("four", 4)] {
                let piece = try #require(GGUFPiece(file, name))
                let checkpoint = Checkpoint(gguf: file, pieces: [name: piece])
                let shape = try checkpoint.info(name).shape
                let format = try #require(try checkpoint.integerFormat(of: name, shape: shape))
                #expect(format.bits == bits && format.group == 32)
                let matrix = try checkpoint.integers(of: name, shape: shape, format)
                #expect(try matrix.numbers == checkpoint.floats(name))
                #expect(throws: CheckpointError.self) { try checkpoint.integerFormat(of: name, shape: [1, 1]) }
            }
        }
    }

    @Test("half precision is written as it is read") func halves() throws {
        try withTemporaryFolder { folder in
            // Every number there is (NaNs have many spellings), and what lies between two of them.
            let codes = (UInt16.min...UInt16.max).filter { (code: UInt16) -> Bool in
                code & 0x7C00 != 0x7C00 || code & 0x3FF == 0
            }
            let values = codes.map { Float(half: $0) }
            let ties: [(Float, UInt16)] = [
                (0x1.002p0, 0x3C00), (0x1.006p0, 0x3C02), (0x1p-25, 0), (0x3p-25, 2), (65519, 0x7BFF),
                (65520, 0x7C00), (1e30, 0x7C00), (-1e-30, 0x8000), (0x1.FFEp-15, 0x0400),
            ]
            let all = values + ties.map(\.0)
            let path = folder.appending(path: "halves.gguf")
            try GGUFWriter.write([], [GGUFDeclaration("h", .f16, [all.count])], to: path) { _, sink in
                try all.withUnsafeBufferPointer { try sink.append($0) }
            }
            let bytes = try #require(try GGUFFile(path).bytes(of: "h"))
            let written = bytes.withUnsafeBytes { b in
                (0..<all.count).map { b.loadUnaligned(fromByteOffset: 2 * $0, as: UInt16.self) }
            }
            #expect(written == codes + ties.map(\.1))
        }
    }

    @Test("a file that is cut short anywhere, or is none, is one error that names it") func damaged() throws {
        try withTemporaryFolder { folder in
            let whole = folder.appending(path: "whole.gguf")
            try Self.write(whole)
            let bytes = [UInt8](try Data(contentsOf: whole))
            let path = folder.appending(path: "some.gguf")
            func refused(_ bytes: [UInt8], _ says: String = "", sourceLocation: SourceLocation = #_sourceLocation)
                throws
            {
                try Data(bytes).write(to: path)
                let error = #expect(throws: CheckpointError.self, sourceLocation: sourceLocation) { try GGUFFile(path) }
                let text = error?.description ?? ""
                #expect(
                    text.contains("some.gguf") && (says.isEmpty || text.contains(says)) && !text.contains("\n"),
                    "\(text)",
                    sourceLocation: sourceLocation)
            }
            // The last tensor's filling may be missing, which ggml allows too.
            let filling = 32 - Self.tensors[4].byteCount % 32
            for count in 0..<bytes.count - filling { try refused(Array(bytes.prefix(count))) }
            try refused(Array("{\"a\":1}".utf8), "letters GGUF")
            try refused([], "letters GGUF")
            func changed(_ offset: Int, _ value: UInt8) -> [UInt8] {
                var copy = bytes
                copy[offset] = value
                return copy
            }
            try refused(changed(4, 1), "version 1")
            try refused(changed(4, 0).enumerated().map { $0 == 7 ? 3 : $1 }, "highest byte first")
            try refused(changed(15, 0x7F), "tensors")
            try refused(changed(23, 0x7F), "values")
            // The type and the place of the first tensor: after its name, an axis count and an axis.
            let name = try #require(bytes.firstRange(of: Array("plain".utf8)))
            try refused(changed(name.upperBound + 12, 12), "Q4_K")
            try refused(changed(name.upperBound + 16, 32), "begin at byte 32")
        }
    }

    @Test("files of several parts are one model") func parts() throws {
        try withTemporaryFolder { folder in
            func write(_ number: Int) throws {
                let path = folder.appending(path: "m-0000\(number)-of-00002.gguf")
                try GGUFWriter.write(
                    [("split.count", .integer(2)), ("split.no", .integer(number - 1))],
                    [GGUFDeclaration("t\(number)", .f32, [1])], to: path
                ) { _, sink in try [Float(number)].withUnsafeBufferPointer { try sink.append($0) } }
            }
            try write(1)
            let first = folder.appending(path: "m-00001-of-00002.gguf")
            #expect(throws: CheckpointError.self) { try GGUFFile(first) }
            try write(2)
            #expect(try GGUFFile(first).names == ["t1", "t2"])
            #expect(throws: CheckpointError.self) { try GGUFFile(folder.appending(path: "m-00002-of-00002.gguf")) }
        }
    }

    @Test("damaged files") func fuzz() throws {
        try withTemporaryFolder { folder in
            let path = folder.appending(path: "some.gguf")
            try Self.write(path)
            let good = [UInt8](try Data(contentsOf: path))
            try GGUFWriter.write(
                [("k", .strings(["a", "b"]))], [GGUFDeclaration("x", .q4_0, [1, 32])], to: path
            ) { _, sink in try [Float](repeating: 1, count: 32).withUnsafeBufferPointer { try sink.append($0) } }
            let small = [UInt8](try Data(contentsOf: path))
            let fuzz = Fuzz("gguf", [good, small].map { MutableFile($0, .json) }, count: 5000)
            let outcome = fuzz.run(says: "some.gguf") { bytes in
                try Data(bytes).write(to: path)
                let file = try GGUFFile(path)
                for name in file.names {
                    guard let piece = GGUFPiece(file, name) else { continue }
                    let checkpoint = Checkpoint(gguf: file, pieces: [name: piece])
                    #expect(try checkpoint.floats(name).count == checkpoint.info(name).elementCount)
                }
            }
            #expect(outcome.accepted > 20 && outcome.refused > 200)
        }
    }
}

extension Float {
    /// By the definition: sign, exponent, fraction.
    fileprivate init(half: UInt16) {
        let (exponent, fraction) = (Int(half >> 10 & 31), Float(half & 1023))
        let magnitude: Float =
            switch exponent {
            case 0: fraction * 0x1p-24
            case 31: .infinity
            default: (1 + fraction / 1024) * Float(sign: .plus, exponent: exponent - 15, significand: 1)
            }
        self = half & 0x8000 == 0 ? magnitude : -magnitude
    }
}
