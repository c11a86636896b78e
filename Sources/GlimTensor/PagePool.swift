import Synchronization

/// The pages that caches share, of one size and no more than a budget allows.
public final class PagePool: Sendable {
    /// Numbers of a page.
    public let valueCount: Int
    /// Pages that may be lent at one time.
    public let limit: Int
    private let lent = Atomic<Int>(0)

    /// - Parameters:
    ///   - valueCount: numbers of a page.
    ///   - limit: pages that may be lent at one time.
    public init(valueCount: Int, limit: Int = .max) {
        precondition(valueCount > 0 && limit > 0, "PagePool: \(limit) pages of \(valueCount) numbers")
        (self.valueCount, self.limit) = (valueCount, limit)
    }

    /// Pages that are lent.
    public var count: Int { lent.load(ordering: .relaxed) }

    /// Counts pages that are lent or come back; returns how many are lent then.
    @discardableResult
    func lend(_ change: Int) -> Int { lent.wrappingAdd(change, ordering: .relaxed).newValue }
}
