import GlimTensor
import GlimTestSupport
import Testing

/// Selection for few rows, whose keys are divided over the threads.
@Suite("selection on threads") struct SelectionThreadTests {
    @Test("few rows over many keys choose the same positions on any threads", arguments: [1, 3, 8])
    func few(rows: Int) {
        // Three parts of 4,096 keys; the last rows see more pages than the first.
        let (count, heads, width, topK) = (2 * 4096 + 60, 3, 8, 200)
        var draw = Draw(rows, "selection on threads")
        let (q, weights) = (draw.tensor([rows, heads * width]), draw.tensor([rows, heads]))
        // Keys come again, so that scores are equal across parts: the lower position is chosen.
        let some = draw.floats(500 * width)
        let keys = Tensor((0..<count * width).map { some[$0 % some.count] }, [count, width])
        let pages = KeyPages(rows: SequenceSlice(row: 0, count: count, position: 0), of: keys)
        let slices = [SequenceSlice(row: 0, count: rows, position: count - rows)]
        func chosen(_ threads: Int) -> [[Int32]?] {
            Machine.alone(threads: threads) {
                let selection = Tensor.select(
                    q, weights: weights, pages: [pages], slices: slices, topK: topK, scale: 0.3)
                return (0..<rows).map { selection[$0] }
            }
        }
        let alone = chosen(1)
        #expect(alone.allSatisfy { $0?.count == topK })
        for threads in [2, 3] { #expect(chosen(threads) == alone, "\(threads) threads") }
    }
}
