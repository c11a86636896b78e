import CGlimKernels
import Foundation

/// The cosines and sines of rotary position embedding, computed once for a range of positions.
///
/// Angle of pair j at position p: `p · theta^(-2j / dims)` (GLM5: theta 1e6, 64 rotated dimensions).
public struct RotaryTable: Sendable {
    let cosine: Tensor  // [positions, dims / 2]
    let sine: Tensor
    /// Rotated values of a head.
    public let dimensions: Int
    /// Positions from 0 that the table reaches.
    public let positionCount: Int

    /// - Parameters:
    ///   - dimensions: rotated values of a head, even.
    ///   - theta: the base.
    ///   - positions: how many positions, from 0.
    public init(dimensions: Int, theta: Double, positions: Int) {
        precondition(dimensions > 0 && dimensions % 2 == 0, "RotaryTable: \(dimensions) dimensions")
        let half = dimensions / 2
        (cosine, sine) = (Tensor(uninitialized: [positions, half]), Tensor(uninitialized: [positions, half]))
        // As the reference computes them: frequencies and angles in f32, so that long positions round alike.
        let frequencies = (0..<half).map { Float(1 / pow(Float(theta), Float(2 * $0) / Float(dimensions))) }
        for p in 0..<positions {
            for j in 0..<half {
                let angle = Float(p) * frequencies[j]
                cosine.pointer[p * half + j] = cosf(angle)
                sine.pointer[p * half + j] = sinf(angle)
            }
        }
        (self.dimensions, positionCount) = (dimensions, positions)
    }

    /// Rotates in place `heads` heads of each row; a head's rotated part starts at `x + row·stride + h·headStride`.
    func rotate(
        _ x: UnsafeMutablePointer<Float>, stride: Int, headStride: Int, heads: Int, positions: UnsafePointer<Int32>,
        rows: Int, halfSplit: Bool, inverse: Bool
    ) {
        kernels.pointee.rope(
            x, Int64(stride), Int64(headStride), Int64(heads), Int64(rows), positions, cosine.pointer, sine.pointer,
            Int64(dimensions), halfSplit ? 1 : 0, inverse ? 1 : 0)
    }
}

extension Tensor {
    /// Rotary embedding of the leading `table.dimensions` values of each head (the indexer's convention).
    ///
    /// - Parameters:
    ///   - x: `[T, heads · width]`
    ///   - positions: one a row.
    ///   - halfSplit: pairs (j, j + dims/2) instead of (2j, 2j + 1).
    /// - Returns: `[T, heads · width]`
    public static func rope(
        _ x: Tensor, heads: Int, positions: [Int32], _ table: RotaryTable, halfSplit: Bool, tape: Tape? = nil
    ) -> Tensor {
        let (rows, stride) = (x.shape.rows, x.shape.last)
        precondition(stride % heads == 0 && table.dimensions <= stride / heads, "rope: \(heads) heads in \(x.shape)")
        precondition(positions.count == rows, "rope: \(positions.count) positions for \(x.shape)")
        var y = turned(x, inverse: false)
        tape?.record(&y) { [unowned tape] dy in tape!.add(turned(dy, inverse: true), to: x) }
        return y

        func turned(_ x: Tensor, inverse: Bool) -> Tensor {
            let y = copy(x)
            positions.withUnsafeBufferPointer { positions in
                let positions = Shared(positions.baseAddress!)
                overRows(rows, width: stride) { first, count in
                    table.rotate(
                        y.row(first), stride: stride, headStride: stride / heads, heads: heads,
                        positions: positions.pointer + first, rows: count, halfSplit: halfSplit, inverse: inverse)
                }
            }
            return y
        }
    }

    /// The rows of the indexer's key cache, `rope(layerNorm(x))`, in one pass.
    ///
    /// - Parameters:
    ///   - x: `[T, X]`, from `indexer.wk`.
    ///   - norm: `[X]`, and so is the bias.
    ///   - positions: one a row.
    ///   - format: what they are rounded to where that is bf16; gradients go straight through.
    /// - Returns: `[T, X]`
    public static func indexKeys(
        _ x: Tensor, norm: Weight, bias: Weight, epsilon: Float, positions: [Int32], _ table: RotaryTable,
        halfSplit: Bool, format: KeyFormat = .f32, tape: Tape? = nil
    ) -> Tensor {
        let (T, X) = (x.shape.rows, x.shape.last)
        precondition(norm.outputs == X && bias.outputs == X && positions.count == T, "indexKeys: \(x.shape)")
        var y = Tensor(uninitialized: x.shape)
        let stats = tape == nil ? nil : Tensor(uninitialized: [T, 2])
        func rotate(_ rows: UnsafeMutablePointer<Float>, _ first: Int, _ count: Int, inverse: Bool) {
            positions.withUnsafeBufferPointer {
                table.rotate(
                    rows, stride: X, headStride: X, heads: 1, positions: $0.baseAddress! + first, rows: count,
                    halfSplit: halfSplit, inverse: inverse)
            }
        }
        overRows(T, width: X) { first, count in
            kernels.pointee.layer_norm(
                y.row(first), Int64(X), stats.map { $0.row(first) }, x.row(first), Int64(X), norm.floats, bias.floats,
                Int64(count), Int64(X), epsilon)
            rotate(y.row(first), first, count, inverse: false)
            if format == .bf16 { kernels.pointee.round_to_bf16(y.row(first), Int64(count * X)) }
        }
        tape?.record(&y) { [unowned tape] dy in
            let turned = copy(dy)
            overRows(T, width: X) { first, count in rotate(turned.row(first), first, count, inverse: true) }
            layerNormPullback(turned, to: x, norm, bias: bias, stats: stats!, tape: tape!)
        }
        return y
    }
}
