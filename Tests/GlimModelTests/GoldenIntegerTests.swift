import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

/// Against files of the compressed-tensors library (Tools/integer_golden.py).
@Suite("integers as compressed-tensors has them") struct GoldenIntegerTests {
    private static let folder = Golden.folder.appending(path: "integers")
    private static var quantised: URL { folder.appending(path: "w4a8") }

    @Test("what the library packed loads as integers, and is what it decompresses, to the bit") func reads() throws {
        let expected = try Checkpoint(file: Self.folder.appending(path: "expected.safetensors"))
        let (integers, numbers) = (try Model(folder: Self.quantised), try Model(folder: Self.quantised, format: .f32))
        var sizes: Set<String> = []
        for (tensor, wide) in zip(integers.tensors, numbers.tensors) {
            guard expected.contains(tensor.name) else {
                #expect(tensor.integerFormat == nil, "\(tensor.name)")
                continue
            }
            let format = try #require(tensor.integerFormat)
            #expect(format == .integers(bits: tensor.name.contains(".experts.") ? 4 : 8, inputs: tensor.shape[1]))
            sizes.insert("\(format), \(tensor.shape[1] % format.group! == 0)")
            let right = try expected.floats(tensor.name)
            expectSame(tensor.numbers()!.elements, right, tensor.name)
            expectSame(tensor.integers()!.numbers, right, tensor.name)
            expectSame(wide.numbers()!.elements, right, tensor.name)
        }
        #expect(sizes.count == 6 && integers.tensors.count { $0.integerFormat != nil } == expected.names.count)
        let tokens = (0..<30).map { Int32($0 * 7 % 40) }
        let logits = Scorer(integers).logits(tokens)
        expectSame(Scorer(integers, mode: .decode).logits(tokens), logits)
        #expect(logits.allSatisfy { $0.isFinite })
    }

    @Test("what we convert is what the library packs, every tensor to the bit") func writes() throws {
        let source = Self.folder.appending(path: "plain")
        try withTemporaryFolder { folder in
            let out = folder.appending(path: "out")
            _ = try #require(try Conversion(source, to: out, Scheme(.w4a8)).run())
            let (found, expected) = (try Checkpoint(folder: out), try Checkpoint(folder: Self.quantised))
            #expect(found.names == expected.names)
            for name in expected.names {
                let (a, b) = (try found.info(name), try expected.info(name))
                #expect(a.dtype == b.dtype && a.shape == b.shape, "\(name)")
                let bytes = try [found, expected].map { try $0.bytes(of: name).withUnsafeBytes { Array($0) } }
                #expect(bytes[0] == bytes[1], "\(name)")
            }
        }
    }
}
