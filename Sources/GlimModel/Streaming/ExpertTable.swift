import Foundation
import GlimTensor

/// Which experts are in memory, and which give way to others: decisions only, no thread and no file.
///
/// Experts are numbered through all layers that have some. Each has a heat: how many tokens chose it, of which a choice
/// long ago counts less. Where one needs room, the coldest gives way.
package struct ExpertTable {
    /// What memory an expert is wanted for.
    package enum Reason {
        /// A pass waits for it.
        case need
        /// A pass is likely to need it: nothing that another is likely to need gives way.
        case guess
        /// It was needed in earlier runs: nothing gives way.
        case habit
    }

    private struct Entry {
        var memory: SystemPages
        var isThere = false
        /// It was read for a guess, and not needed since.
        var isGuessed = false
        /// A pass is computing with it, or waits for it.
        var isNeeded = false
        /// A pass is likely to need it.
        var isExpected = false
    }

    /// Bytes that experts may take.
    package let capacity: Int
    /// Bytes that they take.
    package private(set) var byteCount = 0
    /// Experts of a layer.
    let width: Int
    /// Of one expert, by layer.
    private let sizes: [Int]
    private var entries: [Int: Entry] = [:]
    private var expected: [Int] = []
    private var heats: [Double]
    /// What a choice counts now, by layer: it grows, so that earlier ones count less.
    private var units: [Double]

    /// Choices for each expert of a layer after which an earlier one counts half: with 8 of 256 experts 2,048 tokens.
    private static let halfLife = 64.0

    /// - Parameters:
    ///   - sizes: bytes of an expert, by layer.
    ///   - width: experts of a layer.
    ///   - heats: of earlier runs, by number.
    package init(capacity: Int, sizes: [Int], width: Int, heats: [Double]? = nil) {
        precondition(
            sizes.allSatisfy { $0 > 0 && $0 <= capacity }, "ExpertTable: \(sizes.max() ?? 0) bytes in \(capacity)")
        (self.capacity, self.sizes, self.width) = (capacity, sizes, width)
        self.heats = heats ?? [Double](repeating: 0, count: sizes.count * width)
        units = [Double](repeating: 1, count: sizes.count)
    }

    /// Experts of all layers.
    var count: Int { sizes.count * width }
    /// Every expert is in memory, or on its way.
    package var isWhole: Bool { entries.count == count }

    /// Where an expert lies; nil while it is not there.
    package func memory(of id: Int) -> UnsafeMutableRawPointer? {
        entries[id].flatMap { $0.isThere ? $0.memory.pointer : nil }
    }

    package func isComing(_ id: Int) -> Bool { entries[id].map { !$0.isThere } ?? false }

    // MARK: What happens

    /// A pass chose experts of a layer.
    ///
    /// - Parameter load: tokens of each.
    package mutating func record(_ load: [Int], layer: Int) {
        let choices = load.reduce(0, +)
        units[layer] *= exp2(Double(choices) / (Self.halfLife * Double(width)))
        for (expert, count) in load.enumerated() where count > 0 {
            heats[layer * width + expert] += Double(count) * units[layer]
        }
        // Long before a number ends.
        guard units[layer] > 1e100 else { return }
        for id in layer * width..<(layer + 1) * width { heats[id] /= units[layer] }
        units[layer] = 1
    }

    /// How many tokens chose an expert, earlier ones counting less.
    package func heat(_ id: Int) -> Double { heats[id] / units[id / width] }

    /// Takes room for an expert that is about to be read.
    ///
    /// - Returns: its memory; nil where nothing may give way now, or where it has some.
    package mutating func begin(_ id: Int, for reason: Reason) -> UnsafeMutableRawPointer? {
        guard entries[id] == nil else { return nil }
        let size = sizes[id / width]
        var memory: SystemPages?
        while byteCount + size > capacity {
            guard reason != .habit, let coldest = coldest(beside: reason) else { return nil }
            guard let entry = entries.removeValue(forKey: coldest) else { return nil }
            byteCount -= entry.memory.byteCount
            if entry.memory.byteCount == size { memory = entry.memory }
        }
        let taken = memory ?? SystemPages(byteCount: size)
        entries[id] = Entry(memory: taken, isGuessed: reason == .guess, isNeeded: reason == .need)
        byteCount += taken.byteCount
        if reason == .guess { expect(id) }
        return taken.pointer
    }

    private func coldest(beside reason: Reason) -> Int? {
        var best: (id: Int, isExpected: Bool, heat: Double)?
        for (id, entry) in entries where entry.isThere && !entry.isNeeded {
            if entry.isExpected, reason == .guess { continue }
            let heat = heat(id)
            if let best, (best.isExpected ? 1 : 0, best.heat, best.id) < (entry.isExpected ? 1 : 0, heat, id) {
                continue
            }
            best = (id, entry.isExpected, heat)
        }
        return best?.id
    }

    /// It was read.
    package mutating func arrived(_ id: Int) { entries[id]?.isThere = true }

    /// It could not be read.
    package mutating func failed(_ id: Int) {
        guard let entry = entries.removeValue(forKey: id) else { return }
        byteCount -= entry.memory.byteCount
    }

    /// A pass needs it, or no longer does; while one does, it stays. One that is not there does not become so.
    package mutating func need(_ id: Int, _ isNeeded: Bool) {
        entries[id]?.isNeeded = isNeeded
        entries[id]?.isGuessed = false
    }

    /// It is in memory because of a guess that is just about to be proved right.
    package func isGuessed(_ id: Int) -> Bool { entries[id]?.isGuessed ?? false }

    /// A pass is likely to need it: it gives way last.
    package mutating func expect(_ id: Int) {
        guard entries[id] != nil else { return }
        entries[id]?.isExpected = true
        expected.append(id)
    }

    /// A pass is through a layer: nothing of it is expected any more.
    package mutating func passed(layer: Int) {
        for id in expected where id / width == layer { entries[id]?.isExpected = false }
        expected.removeAll { $0 / width == layer }
    }
}
