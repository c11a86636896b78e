/// Two neighbouring tokens that become one. A merge's rank is its place in the list: the lowest goes first.
struct Merge: Sendable, Equatable {
    let left: Int32
    let right: Int32
    let result: Int32
}

/// The merges by pair, in a flat open-addressing table.
struct MergeTable: Sendable {
    /// A rank in the upper half, the resulting token in the lower: to compare entries is to compare ranks.
    typealias Entry = UInt64

    static let none = Entry.max

    private struct Slot {
        var pair = UInt64.max
        var entry = MergeTable.none
    }

    private var slots: [Slot]
    private let shift: Int

    init(count: Int) {
        var bits = 4
        while count * 3 > (1 << bits) * 2 { bits += 1 }
        slots = [Slot](repeating: Slot(), count: 1 << bits)
        shift = 64 - bits
    }

    @inline(__always)
    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    @inline(__always)
    private func slot(of key: UInt64) -> Int {
        Int(truncatingIfNeeded: ((key ^ key >> 29) &* 0x9E37_79B9_7F4A_7C15) >> UInt64(shift))
    }

    @inline(__always)
    subscript(left: Int32, right: Int32) -> Entry {
        let key = Self.key(left, right)
        var index = slot(of: key)
        while true {
            let slot = slots[index]
            if slot.pair == key { return slot.entry }
            if slot.pair == .max { return Self.none }
            index = (index + 1) & (slots.count - 1)
        }
    }

    /// Adds a merge; returns false where the pair has one already. At most the `count` of `init` may be added.
    mutating func insert(_ merge: Merge, rank: Int) -> Bool {
        let key = Self.key(merge.left, merge.right)
        var index = slot(of: key)
        while slots[index].pair != .max {
            if slots[index].pair == key { return false }
            index = (index + 1) & (slots.count - 1)
        }
        let entry = UInt64(rank) << 32 | UInt64(UInt32(bitPattern: merge.result))
        slots[index] = Slot(pair: key, entry: entry)
        return true
    }
}

/// Merges the symbols of one piece: always the pair of lowest rank, the leftmost of equals, until none is left.
///
/// Keeps its buffers from piece to piece.
struct Merger: Sendable {
    /// The symbols; `merge` leaves here what they became.
    var symbols: [Int32] = []
    /// The merge of each symbol with the one after it.
    private var entries: [MergeTable.Entry] = []
    private var next: [Int32] = []
    private var previous: [Int32] = []
    private var heap: [UInt64] = []

    /// Up to here, looking for the lowest rank by walking is faster than a heap.
    private static let walkingCount = 48

    /// Gives back the memory of an exceptionally long piece.
    mutating func trim() {
        if symbols.capacity > 1 << 16 || entries.capacity > 1 << 16 { self = Merger() }
    }

    mutating func merge(with table: MergeTable) {
        if symbols.count < 2 { return }
        if symbols.count <= Self.walkingCount { walk(table) } else { useHeap(table) }
    }

    private mutating func walk(_ table: MergeTable) {
        var count = symbols.count
        entries.removeAll(keepingCapacity: true)
        for k in 1..<count { entries.append(table[symbols[k - 1], symbols[k]]) }
        while count > 1 {
            var (best, at) = (MergeTable.none, 0)
            for k in 0..<(count - 1) where entries[k] < best { (best, at) = (entries[k], k) }
            if best == MergeTable.none { break }
            symbols[at] = Int32(truncatingIfNeeded: best)
            count -= 1
            for k in (at + 1)..<max(count, at + 1) { symbols[k] = symbols[k + 1] }
            for k in at..<max(count - 1, at) { entries[k] = entries[k + 1] }
            if at > 0 { entries[at - 1] = table[symbols[at - 1], symbols[at]] }
            if at + 1 < count { entries[at] = table[symbols[at], symbols[at + 1]] }
        }
        symbols.removeSubrange(count...)
    }

    /// A linked list and a heap of (rank, position), so that a piece of any length takes n log n.
    private mutating func useHeap(_ table: MergeTable) {
        let count = symbols.count
        let end = Int32(count)
        next.removeAll(keepingCapacity: true)
        previous.removeAll(keepingCapacity: true)
        entries.removeAll(keepingCapacity: true)
        heap.removeAll(keepingCapacity: true)
        for k in 0..<count {
            next.append(Int32(k + 1))
            previous.append(Int32(k - 1))
            entries.append(k + 1 < count ? table[symbols[k], symbols[k + 1]] : MergeTable.none)
            if entries[k] != MergeTable.none { heap.append(Self.key(entries[k], k)) }
        }
        for k in stride(from: heap.count / 2 - 1, through: 0, by: -1) { sink(k) }
        while let top = heap.first {
            let at = Int(top & 0xFFFF_FFFF)
            let entry = entries[at]
            // Stale: the pair at this position has been merged or has changed.
            if entry == MergeTable.none || entry >> 32 != top >> 32 {
                pop()
                continue
            }
            let gone = Int(next[at])
            symbols[at] = Int32(truncatingIfNeeded: entry)
            entries[gone] = MergeTable.none
            next[at] = next[gone]
            if next[at] < end { previous[Int(next[at])] = Int32(at) }
            entries[at] = next[at] < end ? table[symbols[at], symbols[Int(next[at])]] : MergeTable.none
            if entries[at] != MergeTable.none { replaceTop(Self.key(entries[at], at)) } else { pop() }
            let before = Int(previous[at])
            if before >= 0 {
                entries[before] = table[symbols[before], symbols[at]]
                if entries[before] != MergeTable.none { push(Self.key(entries[before], before)) }
            }
        }
        var (from, to) = (0, 0)
        while from < count {
            symbols[to] = symbols[from]
            to += 1
            from = Int(next[from])
        }
        symbols.removeSubrange(to...)
    }

    private static func key(_ entry: MergeTable.Entry, _ position: Int) -> UInt64 {
        entry & 0xFFFF_FFFF_0000_0000 | UInt64(position)
    }

    private mutating func push(_ key: UInt64) {
        heap.append(key)
        var k = heap.count - 1
        while k > 0, heap[(k - 1) / 2] > key {
            heap[k] = heap[(k - 1) / 2]
            k = (k - 1) / 2
        }
        heap[k] = key
    }

    private mutating func pop() {
        let last = heap.removeLast()
        if !heap.isEmpty { replaceTop(last) }
    }

    private mutating func replaceTop(_ key: UInt64) {
        heap[0] = key
        sink(0)
    }

    private mutating func sink(_ start: Int) {
        let key = heap[start]
        var k = start
        while 2 * k + 1 < heap.count {
            var child = 2 * k + 1
            if child + 1 < heap.count, heap[child + 1] < heap[child] { child += 1 }
            if heap[child] >= key { break }
            heap[k] = heap[child]
            k = child
        }
        heap[k] = key
    }
}
