/// Byte strings, each stored once and numbered in the order of arrival.
///
/// One open-addressing table over one arena: the vocabulary's index, the cache of words and the counts of the trainer.
struct ByteTable: Sendable {
    private(set) var arena: [UInt8] = []
    /// Where each string ends; it starts where the one before ends.
    private(set) var ends: [Int] = []
    /// The upper half of the hash and the number plus one; zero is empty.
    private var slots: [UInt64]

    /// Chosen anew in each process, so that no text can be made to collide. It never shows in results.
    private static let seed = UInt64.random(in: .min ... .max)
    private let seed = ByteTable.seed

    init(minimumCapacity: Int = 0) {
        var size = 1024
        while size < minimumCapacity * 2 { size *= 2 }
        slots = [UInt64](repeating: 0, count: size)
    }

    var count: Int { ends.count }

    func range(_ index: Int) -> Range<Int> { (index == 0 ? 0 : ends[index - 1])..<ends[index] }

    subscript(index: Int) -> ArraySlice<UInt8> { arena[range(index)] }

    @inline(__always)
    func hash(_ key: UnsafeBufferPointer<UInt8>) -> UInt64 {
        let raw = UnsafeRawBufferPointer(key)
        var (hash, i) = (seed ^ UInt64(truncatingIfNeeded: key.count), 0)
        while i + 8 <= raw.count {
            hash = Self.mix(hash ^ raw.loadUnaligned(fromByteOffset: i, as: UInt64.self))
            i += 8
        }
        var tail: UInt64 = 0
        while i < raw.count {
            tail = tail << 8 | UInt64(raw[i])
            i += 1
        }
        return Self.mix(hash ^ tail)
    }

    @inline(__always)
    private static func mix(_ value: UInt64) -> UInt64 {
        let (high, low) = value.multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
        return high ^ low ^ value >> 29
    }

    /// The number of `key`, whose hash the caller has.
    @inline(__always)
    func find(_ key: UnsafeBufferPointer<UInt8>, hash: UInt64) -> Int? {
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        while slots[slot] != 0 {
            if slots[slot] >> 32 == hash >> 32 {
                let index = Int(slots[slot] & 0xFFFF_FFFF) - 1
                if equals(index, key) { return index }
            }
            slot = (slot + 1) & mask
        }
        return nil
    }

    func find(_ key: [UInt8]) -> Int? {
        key.withUnsafeBufferPointer { find($0, hash: hash($0)) }
    }

    /// Adds a key that `find` did not find, and returns its number.
    @discardableResult
    mutating func insert(_ key: UnsafeBufferPointer<UInt8>, hash: UInt64) -> Int {
        if (count + 1) * 2 > slots.count { grow() }
        arena.append(contentsOf: key)
        ends.append(arena.count)
        place(hash, index: count - 1)
        return count - 1
    }

    /// Adds a key, and returns its number and whether it is new.
    mutating func insert(_ key: [UInt8]) -> (index: Int, isNew: Bool) {
        key.withUnsafeBufferPointer { key in
            let hash = hash(key)
            if let index = find(key, hash: hash) { return (index, false) }
            return (insert(key, hash: hash), true)
        }
    }

    mutating func removeAll() {
        arena.removeAll(keepingCapacity: true)
        ends.removeAll(keepingCapacity: true)
        slots = [UInt64](repeating: 0, count: slots.count)
    }

    @inline(__always)
    private func equals(_ index: Int, _ key: UnsafeBufferPointer<UInt8>) -> Bool {
        let range = range(index)
        if range.count != key.count { return false }
        for k in 0..<key.count where arena[range.lowerBound + k] != key[k] { return false }
        return true
    }

    private mutating func place(_ hash: UInt64, index: Int) {
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        while slots[slot] != 0 { slot = (slot + 1) & mask }
        slots[slot] = (hash >> 32) << 32 | UInt64(index + 1)
    }

    private mutating func grow() {
        slots = [UInt64](repeating: 0, count: slots.count * 2)
        for index in 0..<count {
            let key = range(index)
            let hash = arena.withUnsafeBufferPointer { self.hash(UnsafeBufferPointer(rebasing: $0[key])) }
            place(hash, index: index)
        }
    }
}
